"""How wide a space of channels is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Widths:
    """Channels of a space in the target, and at most."""

    target: int
    max: int
