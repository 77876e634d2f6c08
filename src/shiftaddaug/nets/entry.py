"""One block's row of a table, with the net's scaling of widths. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.nets.node_checks import ACTS


def make_divisible(value: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to `value`, at least one divisor and at least 90 % of `value` (MobileNetV2)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True)
class Scaling:
    """Widths of a table in channels of the net."""

    width_mult: float
    divisor: int

    def __call__(self, channels: float) -> int:
        """Multiply by `width_mult`, and round to a multiple of `divisor`."""
        return make_divisible(channels * self.width_mult, self.divisor)


@dataclass(frozen=True)
class Entry:
    """What a table says of one block.

    The properties raise UserError, KeyError, TypeError or ValueError on values no block can be built from.
    """

    name: str
    """Name of the block, such as blocks.3: its unit, and the beginning of its nodes' names."""
    values: Mapping[str, Any]
    """The stage's keys, each with this block's value."""
    first: bool
    """Whether it is the first of its stage."""
    scaled: Scaling

    @property
    def channels(self) -> int:
        """Channels that the block yields."""
        return self.scaled(self.values["channels"])

    @property
    def stride(self) -> int:
        """Stride of the block: the stage's for its first block, else 1."""
        stride: int = self.values.get("stride", 1) if self.first else 1
        return stride

    @property
    def kernel(self) -> int:
        """Side of the kernel, odd."""
        kernel = int(self.values.get("kernels", 3))
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f"net.stages: kernels={kernel}: must be odd and positive")
        return kernel

    @property
    def act(self) -> str:
        """Name of the activation."""
        return act_of(self.values)


def act_of(values: Mapping[str, Any]) -> str:
    """Return the activation that a part of a table names.

    Raises:
        UserError: there is none of that name.
    """
    act = str(values.get("act", "relu6"))
    if act not in ACTS:
        raise UserError(f"net: act={act}: no such activation; options: {', '.join(ACTS)}")
    return act
