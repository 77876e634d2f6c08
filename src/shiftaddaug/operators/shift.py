"""shift: weights are signed powers of two, so that a product is a bit shift (DeepShift-Q, arXiv 1905.13298)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.operators.base import Operator, Pair
from shiftaddaug.operators.mult import kaiming_uniform
from shiftaddaug.operators.quantize import fixed_point, round_power_of_two

SMALLEST_EXPONENT, LARGEST_EXPONENT = -126, 127
"""Of a normal float32: an exponent outside would not survive training."""


@dataclass(frozen=True)
class PowerOfTwoWeights(Operator):
    """What shift and shift_ps share: the code of a weight, the optional fixed-point input, the convolution.

    Raises:
        UserError: a field outside its range.
    """

    multiplication_free = True

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

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest weight that is not zero: -14 for 5 bits, as in DeepShift's code."""
        exponents: int = 2 ** (self.weight_bits - 1) - 1
        return self.max_exponent - exponents + 1

    @property
    def linear_in_weight(self) -> bool:
        return self.activation_bits is None

    def conv2d(
        self, x: Tensor, weight: Tensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
    ) -> Tensor:
        return F.conv2d(self._activation(x), weight, None, stride, padding, dilation, groups)

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(self._activation(x), weight)

    def _activation(self, x: Tensor) -> Tensor:
        if self.activation_bits is None or self.activation_fraction_bits is None:
            return x
        return fixed_point(x, self.activation_bits - 1 - self.activation_fraction_bits, self.activation_fraction_bits)


@dataclass(frozen=True)
class Shift(PowerOfTwoWeights):
    """Y = X * (s 2^p): a latent float weight, rounded to a power of two in the forward pass.

    NOTE: DeepShift always quantises activations, to 32 bits of which 16 are fraction; here it is an option.
    """

    name = "shift"
    shareable = True

    def init_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"weight": kaiming_uniform(shape)}

    def effective_weight(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return round_power_of_two(parameters["weight"], self.min_exponent, self.max_exponent)


def _check_integer(key: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UserError(f"op.{key}={value}: must be between {least} and {most}")


OPERATOR = Shift
