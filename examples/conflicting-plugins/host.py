"""A host of two plugins that need different versions of one library. It has neither of them."""

from __future__ import annotations

import sys

import extframe


class Lamp(extframe.Interface, implements="Lamp"):
    """A lamp."""

    @extframe.rpc("Colour", returns="Colour")
    def colour(self) -> str:
        """Return the colour of its light."""
        raise NotImplementedError


def main(directory: str) -> None:
    """Call both plugins."""
    with extframe.PluginManager(extframe.Supervisor(directory)) as pm:
        for name in ("warm", "cold"):
            print(f"{name}: {Lamp.remote(pm.get(name, Lamp).client).colour()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
