"""A plugin that needs version 1 of acme-colours."""

import acme_colours

import extframe


class Lamp(extframe.Interface, implements="Lamp"):
    """A lamp."""

    @extframe.rpc("Colour", returns="Colour")
    def colour(self) -> str:
        """Return the colour of its light."""
        raise NotImplementedError


class Warm(Lamp):
    """A warm lamp."""

    def colour(self) -> str:
        """Return the colour of its light."""
        return acme_colours.name(2700)
