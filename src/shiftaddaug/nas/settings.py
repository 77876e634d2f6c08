"""Keys of a search space (configs/space). Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.nets.settings import Kernel, WidthOrShare
from shiftaddaug.settings import PositiveInt, check_group, shown

Sizes = Annotated[list[PositiveInt], Meta(min_length=1, title="a list of sides of images (px), such as [16,32]")]
WidthMults = Annotated[list[WidthOrShare], Meta(min_length=1, title="a list of numbers > 0, such as [0.2,0.35]")]
Kernels = Annotated[list[Kernel], Meta(min_length=1, title="a list of odd numbers, such as [3,5,7]")]
Expand = Annotated[float, Meta(gt=0, le=100)]
Expands = Annotated[list[Expand], Meta(min_length=1, title="a list of numbers > 0, such as [3,4,6]")]
Share = Annotated[float, Meta(gt=0, le=1)]
Shares = Annotated[list[Share], Meta(min_length=1, title="a list of shares > 0 and <= 1, such as [0.5,1.0]")]
Names = Annotated[list[str], Meta(min_length=1, title="a list of operators, such as [mult,shift]")]


@dataclass(frozen=True)
class SpaceSettings:
    """What the networks of a space may be, within the largest one that a net's table describes."""

    name: str
    source: str
    image_sizes: Sizes
    """Sides of square images, in pixels."""
    width_mults: WidthMults
    """Width multipliers of the table."""
    kernels: Kernels
    expand_ratios: Expands
    least_depth: PositiveInt
    """Blocks that a stage keeps at least."""
    widths: Shares
    """Shares of a stage's channels."""
    operators: Names

    def __post_init__(self) -> None:
        for key in ("image_sizes", "width_mults", "kernels", "expand_ratios", "widths", "operators"):
            values = getattr(self, key)
            if len({*values}) < len(values):
                raise UserError(f"space.{key}={shown(values)}: names one twice")


def check_space(space: Mapping[str, Any]) -> SpaceSettings:
    """Return the settings of a space.

    Raises:
        UserError: the first mistake, by key.
    """
    settings: SpaceSettings = check_group("space", space, SpaceSettings)
    return settings
