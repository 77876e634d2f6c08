"""Rounding to powers of two and to fixed point, with the gradients that let training pass through it.

Both are staircases, whose derivative is zero almost everywhere. Training uses a straight-through gradient instead
(Bengio et al., arXiv 1308.3432, section 4; for shift networks DeepShift, arXiv 1905.13298, section 3): the rounding
counts as the identity in the backward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.kernels.tracing import is_recorded


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, replacement: Tensor) -> Tensor:
        return replacement.view_as(replacement)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(value: Tensor, replacement: Tensor) -> Tensor:
    """Return `replacement`, exactly, with the gradient of `value`; same shape and dtype. What is recorded has none."""
    if is_recorded():  # a trace would hold the function itself, which is not there where it runs
        return replacement
    result: Tensor = _StraightThrough.apply(value, replacement)
    return result


def round_power_of_two(w: Tensor, min_exponent: int, max_exponent: int) -> Tensor:
    """Return sign(w) * 2^p with p = round(log2 |w|), or zero.

    p is clamped to max_exponent; magnitudes whose p falls below min_exponent, that is |w| < 2^(min_exponent - 1/2),
    become exactly zero, as zeros do. Results are exact powers of two, the same on every device, and are mapped to
    themselves. Weights that are not finite give NaN.

    The gradient is straight-through: the identity everywhere, in the clamped and the zeroed range too, so that
    no weight gets stuck.

    NOTE: DeepShift's code bounds the latent weight in place of p (`clamp_magnitude`), and its 5 bits are a sign and the
    exponents -15..0, without a code for zero.

    Args:
        w: any shape, floating; half precision is rounded in float32.
        min_exponent, max_exponent: bounds of p, min_exponent <= max_exponent.

    Returns:
        Tensor of w's shape and dtype.
    """
    with torch.no_grad():
        half = w.dtype in (torch.float16, torch.bfloat16)
        by_bits = min_exponent > -126
        if is_recorded():
            rounded = _round_by_comparing(w, min_exponent, max_exponent)
        elif w.dtype == torch.float32 and by_bits:
            rounded = _round_float32(w, min_exponent, max_exponent)
        elif half and by_bits:
            rounded = _round_float32(w.float(), min_exponent, max_exponent).to(w.dtype)
        else:
            rounded = _round_any(w, min_exponent, max_exponent)
    return straight_through(w, rounded)


def clamp_magnitude(w: Tensor, low: float, high: float) -> Tensor:
    """Return sign(w) * |w| clamped to [low, high]; zeros stay zeros.

    Args:
        w: any shape, floating.
        low, high: 0 < low <= high.

    Returns:
        Tensor of w's shape and dtype.
    """
    return w.sign() * w.abs().clamp(low, high)


_TO_SQRT2 = 0x00800000 - 0x003504F4
"""What a float32's bits lack to the next exponent when its mantissa is the first above sqrt(2) (0x3504f4)."""
_SIGN_AND_EXPONENT = -0x00800000
"""Mask of a float32's bits, as a signed integer."""


def _round_float32(w: Tensor, min_exponent: int, max_exponent: int) -> Tensor:
    """Round by integer arithmetic on the bits, ten times as fast as by frexp; min_exponent > -126 (no denormals)."""
    power = w.view(torch.int32).add(_TO_SQRT2).bitwise_and_(_SIGN_AND_EXPONENT).view(torch.float32)
    largest = 2.0**max_exponent
    rounded = F.hardshrink(power.clamp_(-largest, largest), 0.75 * 2.0**min_exponent)
    return rounded.add_(w - w)  # nothing, but nan where w is not finite


def _round_any(w: Tensor, min_exponent: int, max_exponent: int) -> Tensor:
    magnitude = w.abs().to(torch.promote_types(w.dtype, torch.float32))
    mantissa, _ = torch.frexp(magnitude)  # magnitude = mantissa * 2^e, 1/2 <= mantissa < 1
    # Dividing by the mantissa leaves 2^e exactly, where a logarithm and a power could be off by an ulp.
    power = magnitude / mantissa
    power = torch.where(mantissa < 0.5**0.5, power / 2, power)
    power = power.clamp(max=2.0**max_exponent)
    is_zero = (magnitude == 0) | (power < 2.0**min_exponent)
    return torch.where(is_zero, 0.0, torch.copysign(power, w)).to(w.dtype)


_LEAST_OF_ONE = {torch.float32: float.fromhex("0x1.6a09e8p-1"), torch.float64: float.fromhex("0x1.6a09e667f3bcdp-1")}
"""The least number of a dtype that rounds to 1: the first one above sqrt(1/2)."""


def _round_by_comparing(w: Tensor, min_exponent: int, max_exponent: int) -> Tensor:
    """Round by comparisons with all powers of two, which every format of recorded passes has."""
    wide = w if w.dtype == torch.float64 else w.float()
    exponents = range(min_exponent, max_exponent + 1)
    powers = torch.tensor([2.0**exponent for exponent in exponents], dtype=wide.dtype, device=w.device)
    magnitude = torch.maximum(wide, -wide)  # no abs, whose elements are counted (`kernels/tracing.py`)
    power = torch.where(magnitude.unsqueeze(-1) >= powers * _LEAST_OF_ONE[wide.dtype], powers, 0.0).amax(-1)
    rounded = torch.where(wide < 0, -power, power) + (wide - wide)  # nan where w is not finite
    return rounded.to(w.dtype)


def fixed_point(x: Tensor, integer_bits: int, fraction_bits: int) -> Tensor:
    """Return x rounded to the nearest multiple of 2^-fraction_bits (ties to even) and saturated, two's complement.

    The range is [-2^integer_bits, 2^integer_bits - 2^-fraction_bits]: 1 + integer_bits + fraction_bits bits in all.

    The gradient is straight-through inside the range, both ends included, and zero where x is saturated.

    NOTE: DeepShift's code counts the sign among the integer bits, rounds down and stops at 2^integer_bits - 1. Its
    gradient passes where x is saturated, too.

    Args:
        x: any shape, floating. The grid is met exactly only if x's dtype holds that many bits (24 in float32).

    Returns:
        Tensor of x's shape and dtype.
    """
    step = 2.0**-fraction_bits
    low, high = -(2.0**integer_bits), 2.0**integer_bits - step
    with torch.no_grad():
        rounded = (x.clamp(low, high) / step).round() * step
    # Not the gradient of clamp: at the ends of its range that has changed between versions of torch.
    inside = torch.where((x >= low) & (x <= high), x, x.detach())
    return straight_through(inside, rounded)
