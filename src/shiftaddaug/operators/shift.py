"""shift: weights are signed powers of two, so that a product is a bit shift (DeepShift-Q, arXiv 1905.13298)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.operators.base import Operator, Pair
from shiftaddaug.operators.fields import PowerOfTwoFields
from shiftaddaug.operators.mult import kaiming_uniform, multiply
from shiftaddaug.operators.quantize import fixed_point, round_power_of_two


@dataclass(frozen=True)
class PowerOfTwoWeights(PowerOfTwoFields, Operator):
    """What shift and shift_ps share: the code of a weight, the optional fixed-point input, the convolution.

    Raises:
        UserError: a field outside its range.
    """

    multiplication_free = True

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
        return multiply(self._activation(x), weight, stride, padding, dilation, groups)

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

    def init_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"weight": kaiming_uniform(shape)}

    def effective_weight(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return round_power_of_two(parameters["weight"], self.min_exponent, self.max_exponent)


OPERATOR = Shift
