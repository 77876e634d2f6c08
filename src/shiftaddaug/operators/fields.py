"""The operators' fields and their limits, so that a configuration is checked before torch is imported.

An operator's class inherits its fields from here. One that is not in `FIELDS` is checked when it is built.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from shiftaddaug.errors import UserError

SMALLEST_EXPONENT, LARGEST_EXPONENT = -126, 127
"""Of a normal float32: an exponent outside would not survive training."""


@dataclass(frozen=True)
class Fields:
    """Keys of an operator's yaml in configs/op, besides those that are for the nets."""

    shareable: ClassVar[bool] = True
    """As `Operator.shareable`."""


@dataclass(frozen=True)
class PowerOfTwoFields(Fields):
    """The code of weights that are powers of two, and the optional fixed-point input.

    Raises:
        UserError: a field outside its range.
    """

    weight_bits: int = 5
    """Sign and shift together: 2^(weight_bits - 1) - 1 exponents, the last code of the shift meaning zero."""
    max_exponent: int = 0
    activation_bits: int | None = None
    """Bits of a fixed-point input, sign included; None leaves the input as it is."""
    activation_fraction_bits: int | None = None

    def __post_init__(self) -> None:
        _check_integer("weight_bits", self.weight_bits, 2, 8)
        exponents = 2 ** (self.weight_bits - 1) - 1
        _check_integer("max_exponent", self.max_exponent, SMALLEST_EXPONENT + exponents - 1, LARGEST_EXPONENT)
        if (self.activation_bits is None) != (self.activation_fraction_bits is None):
            raise UserError(
                f"op.activation_bits={self.activation_bits} and op.activation_fraction_bits="
                f"{self.activation_fraction_bits}: set both, or neither"
            )
        if self.activation_bits is not None:
            # 24 bits are what a float32 holds exactly.
            _check_integer("activation_bits", self.activation_bits, 2, 24)
            _check_integer("activation_fraction_bits", self.activation_fraction_bits, 0, self.activation_bits - 1)


@dataclass(frozen=True)
class ShiftPSFields(PowerOfTwoFields):
    """Two tensors are trained, of which none is a multiplicative weight."""

    shareable = False


@dataclass(frozen=True)
class AddFields(Fields):
    """What a net of l1 distances is trained with.

    Raises:
        UserError: a field outside its range.
    """

    eta: float = 0.8
    """Adaptive local learning rate: the root mean square of the rescaled weight gradient."""
    init_std: float = 8.0
    """Standard deviation of fresh weights, in units of the input's (batch-normalised inputs: 1)."""
    output_scale: bool = True
    """Whether outputs are multiplied by 2^-round(log2 sqrt(k)), k the inputs of a filter: a shift that keeps them
    comparable to a convolution's. NOTE: not in AdderNet; the batch norm that follows absorbs it."""

    def __post_init__(self) -> None:
        for key in ("eta", "init_std"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise UserError(f"op.{key}={value}: must be a positive number")
        if not isinstance(self.output_scale, bool):
            raise UserError(f"op.output_scale={self.output_scale}: must be true or false")


FIELDS: dict[str, type[Fields]] = {
    "add": AddFields,
    "mult": Fields,
    "shift": PowerOfTwoFields,
    "shift_ps": ShiftPSFields,
}
"""By the operator's name."""


def _check_integer(key: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UserError(f"op.{key}={value}: must be between {least} and {most}")
