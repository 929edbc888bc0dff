"""Names of colours, version 2: a class, as the function of version 1 is gone."""


class Light:
    """A light of a colour temperature."""

    def __init__(self, kelvin: int) -> None:
        self.colour = "amber" if kelvin < 4000 else "azure"
