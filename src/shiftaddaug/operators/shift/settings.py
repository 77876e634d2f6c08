"""Settings of shift, and what those of shift_ps share with them: the code of a weight, the fixed-point input."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.operators.remap_settings import RemapSettings, remap_settings_from
from shiftaddaug.operators.settings import Arithmetic, OperatorSettings
from shiftaddaug.settings import check, shown

SMALLEST_EXPONENT, LARGEST_EXPONENT = -126, 127
"""Exponents of a normal float32: one outside would not survive training."""
FLOAT32_BITS = 24
"""Sign and significand of a float32: what it holds of a fixed-point number."""
HALF_BITS = {"bf16": 9, "16": 12}
"""Bits that half precision holds of it, by the beginning of `trainer.precision`."""
REMAP = RemapSettings("residual", laplace_scale=0.1, relative=True)
"""R of these weights by default (b is ours: the paper names none)."""


@dataclass(frozen=True)
class PowerOfTwoSettings(OperatorSettings):
    """The code of weights that are powers of two, and the optional fixed-point input.

    Raises:
        UserError: a field outside its range.
    """

    before = {"clamp": False}

    weight_bits: Annotated[int, Meta(ge=2, le=8)] = 5
    """Sign and shift together: 2^(weight_bits - 1) - 1 exponents, the last code of the shift meaning zero."""
    max_exponent: int = 0
    activation_bits: Annotated[int, Meta(ge=2, le=FLOAT32_BITS)] | None = None
    """Bits of a fixed-point input, sign included; None leaves the input as it is."""
    activation_fraction_bits: int | None = None
    clamp: bool = True
    """Whether what is trained is clamped to what the code can hold, after every optimiser step: a saturated weight then
    answers a reversed gradient at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least = SMALLEST_EXPONENT + self.exponents - 1
        check("op.max_exponent", self.max_exponent, Annotated[int, Meta(ge=least, le=LARGEST_EXPONENT)])
        if (self.activation_bits is None) != (self.activation_fraction_bits is None):
            raise UserError(
                f"op.activation_bits={shown(self.activation_bits)} and op.activation_fraction_bits="
                f"{shown(self.activation_fraction_bits)}: set both, or neither"
            )
        if self.activation_bits is not None:
            fraction = Annotated[int, Meta(ge=0, le=self.activation_bits - 1)]
            check("op.activation_fraction_bits", self.activation_fraction_bits, fraction)

    @property
    def exponents(self) -> int:
        """How many exponents a weight can have."""
        count: int = 2 ** (self.weight_bits - 1) - 1
        return count

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest weight that is not zero: -14 for 5 bits, as DeepShift's PS form has it."""
        return self.max_exponent - self.exponents + 1

    @property
    def arithmetic(self) -> Arithmetic:
        """A shift and an accumulation."""
        return Arithmetic({"shift": 1, "add": 1}, self.weight_bits, self.activation_bits or 32)

    @property
    def copies_input(self) -> bool:
        """Say that fixed point makes an input of its own."""
        return self.activation_bits is not None

    def check_precision(self, precision: str) -> str | None:
        """Refuse inputs of more bits than half precision has."""
        for dtype, bits in HALF_BITS.items():
            if precision.startswith(dtype) and self.activation_bits is not None and self.activation_bits > bits:
                raise UserError(
                    f"op.activation_bits={self.activation_bits}: trainer.precision={precision} holds {bits} bits, and "
                    f"would round inputs beyond their range; options: 2 to {bits}, or 32-true"
                )
        return None


@dataclass(frozen=True)
class ShiftSettings(PowerOfTwoSettings):
    """Keys of configs/op/shift.yaml.

    Raises:
        UserError: a field outside its range.
    """

    name = "shift"
    without_remap = ("clamp",)
    remap: RemapSettings | None = REMAP  # type: ignore[misc]

    def __post_init__(self) -> None:
        object.__setattr__(self, "remap", remap_settings_from(self.remap))
        super().__post_init__()


SETTINGS = ShiftSettings
