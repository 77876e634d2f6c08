"""shift_ps: weights s 2^p whose sign s and exponent p are trained themselves (DeepShift-PS, arXiv 1905.13298)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from shiftaddaug.kernels.tracing import is_recorded
from shiftaddaug.operators.base import Tensors
from shiftaddaug.operators.mult.operator import kaiming_uniform
from shiftaddaug.operators.quantize import round_power_of_two
from shiftaddaug.operators.shift.operator import PowerOfTwoWeights
from shiftaddaug.operators.shift_ps.settings import ShiftPSSettings


def _weight(shift: Tensor, sign: Tensor, min_exponent: int, max_exponent: int) -> Tensor:
    exponent = shift.round().clamp(min_exponent, max_exponent)
    # exp2 may be off by an ulp on some devices; rounding makes it a power of two again.
    power = round_power_of_two(torch.exp2(exponent), min_exponent, max_exponent)
    return power * sign.clamp(-1, 1).round()


class _TernaryPowerOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shift: Tensor, sign: Tensor, min_exponent: int, max_exponent: int) -> Tensor:
        weight = _weight(shift, sign, min_exponent, max_exponent)
        ctx.save_for_backward(weight)
        return weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return gradient * weight * math.log(2), gradient, None, None


@dataclass(frozen=True)
class ShiftPS(ShiftPSSettings, PowerOfTwoWeights):
    """Convolution with powers of two, Y = X * (s 2^p), whose exponents and signs are trained.

    p = round(shift) clamped to the exponents, s = round(sign clamped to [-1, 1]) in {-1, 0, 1}.

    Gradients, with g the weight's: d shift = g s 2^p ln 2, d sign = g. Both roundings and both clamps count as the
    identity.

    NOTE: d sign leaves out the factor 2^p of the chain rule, as DeepShift's code does: signs of small weights
    would otherwise hardly move.
    NOTE: DeepShift initialises shift ~ U(-10, -1) and sign ~ U(-1, 1), so that half of the weights start at zero.
    Here the effective weights start as kaiming-uniform ones rounded to powers of two, and |sign| ~ U(1/2, 1), from
    just beyond the border of zero to the furthest from it.
    """

    undecayed = ("shift", "sign")

    def parameter_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return {"shift": shape, "sign": shape}

    def init_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        weight = kaiming_uniform(shape)
        shift = weight.abs().log2().clamp(self.min_exponent, self.max_exponent)
        # 1 - U[0, 1/2) is 1/2, which would round to zero, where float32 rounds it so
        sign = (1 - 0.5 * torch.rand(shape)).clamp_min(0.5 + torch.finfo(torch.float32).eps)
        return {"shift": shift, "sign": torch.copysign(sign, weight)}

    def effective_weight(self, tensors: Tensors) -> Tensor:
        arguments = (tensors["shift"], tensors["sign"], self.min_exponent, self.max_exponent)
        weight: Tensor = _weight(*arguments) if is_recorded() else _TernaryPowerOfTwo.apply(*arguments)
        return weight

    def decay(self, tensors: Tensors) -> Tensor:
        """Half the sum of (2^p)^2, p as it is trained, not rounded; signs do not count (DeepShift, in its code)."""
        return 0.5 * torch.exp2(2 * tensors["shift"]).sum()

    def project(self, name: str, parameter: Tensor) -> Tensor:
        """Clamp exponents; signs may lie beyond 1, as in DeepShift's code."""
        if not self.clamp or name != "shift":
            return parameter
        return parameter.clamp(self.min_exponent, self.max_exponent)


OPERATOR = ShiftPS
