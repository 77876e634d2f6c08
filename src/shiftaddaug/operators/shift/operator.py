"""shift: weights are signed powers of two, so that a product is a bit shift (DeepShift-Q, arXiv 1905.13298)."""

from dataclasses import dataclass

from torch import Tensor

from shiftaddaug.operators.base import Tensors
from shiftaddaug.operators.codes import Codes, power_of_two_codes
from shiftaddaug.operators.convolution import Convolution
from shiftaddaug.operators.mult.operator import kaiming_uniform
from shiftaddaug.operators.quantize import clamp_magnitude, fixed_point, round_power_of_two
from shiftaddaug.operators.shift.settings import PowerOfTwoSettings, ShiftSettings


@dataclass(frozen=True)
class PowerOfTwoWeights(PowerOfTwoSettings, Convolution):
    """What shift and shift_ps share: the code of a weight, the optional fixed-point input.

    Raises:
        UserError: a field outside its range.
    """

    @property
    def linear_in_weight(self) -> bool:
        return self.activation_bits is None

    def prepare_input(self, x: Tensor, tensors: Tensors) -> Tensor:
        if self.activation_bits is None or self.activation_fraction_bits is None:
            return x
        return fixed_point(x, self.activation_bits - 1 - self.activation_fraction_bits, self.activation_fraction_bits)

    def codes(self, weight: Tensor) -> Codes:
        return power_of_two_codes(weight, self.min_exponent, self.max_exponent)


@dataclass(frozen=True)
class Shift(ShiftSettings, PowerOfTwoWeights):
    """Convolution with powers of two, Y = X * (s 2^p).

    The latent weight is a float, rounded to a power of two in the forward pass.

    NOTE: DeepShift always quantises activations, to 32 bits of which 16 are fraction; here it is an option.
    NOTE: DeepShift clamps |w| to [2^-15, 1] in every forward pass. Here it is done after every optimiser step: the same
    to all that is computed, but that fresh weights below 2^-15, half of the smallest that is not zero, wait for it.
    """

    def init_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"weight": kaiming_uniform(shape)}

    def effective_weight(self, tensors: Tensors) -> Tensor:
        return round_power_of_two(tensors["weight"], self.min_exponent, self.max_exponent)

    def project(self, name: str, parameter: Tensor) -> Tensor:
        if not self.clamp:
            return parameter
        return clamp_magnitude(parameter, 2.0 ** (self.min_exponent - 1), 2.0**self.max_exponent)


OPERATOR = Shift
