"""Heights and widths of images, as people write them and as the package holds them. Imports no torch."""

from collections.abc import Sequence

Size = tuple[int, int]
"""(height, width), in pixels."""


def as_size(value: int | Sequence[int]) -> Size:
    """Return (H, W) of 32 or [180, 240].

    Raises:
        TypeError, ValueError: neither a number nor two of them.
    """
    if isinstance(value, int):
        return value, value
    height, width = value
    if not isinstance(height, int) or not isinstance(width, int):
        raise TypeError(f"{value}: no height and width")
    return height, width


def shown_size(value: int | Sequence[int]) -> str:
    """Return a size as people write it: 32 of a square, [180,240] of a rectangle."""
    height, width = as_size(value)
    return str(height) if height == width else f"[{height},{width}]"
