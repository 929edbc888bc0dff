"""Names of colours, version 1: a function."""


def name(kelvin: int) -> str:
    """Return the name of the colour of a light."""
    return "orange" if kelvin < 4000 else "blue"
