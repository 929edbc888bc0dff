"""A plugin that needs version 2 of acme-colours."""

import acme_colours

import extframe


class Lamp(extframe.Interface, implements="Lamp"):
    """A lamp."""

    @extframe.rpc("Colour", returns="Colour")
    def colour(self) -> str:
        """Return the colour of its light."""
        raise NotImplementedError


class Cold(Lamp):
    """A cold lamp."""

    def colour(self) -> str:
        """Return the colour of its light."""
        return acme_colours.Light(6500).colour
