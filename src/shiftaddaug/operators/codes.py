"""Weights as integers: sums of signed powers of two, times a scale of their output channels."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Codes:
    """Weights w = scale * sum over t of sign_t * 2^exponent_t: a shift-and-add unit executes one shift for each t."""

    signs: Tensor
    """int8 (T, *w.shape), each -1, 0 or 1."""
    exponents: Tensor
    """int16 (T, *w.shape); any value where the sign is 0."""
    scale: Tensor | None = None
    """Positive, of w's dtype, (F,) or (): of each output channel, or of all. Batch-norm absorbs it. None is 1.
    It may be 0 where all that it scales is 0."""
    dtype: torch.dtype = torch.float32

    def decode(self) -> Tensor:
        """Return w, of the dtype that was coded."""
        wide = self.signs.double()  # in which powers of two are exact over the range of every dtype of weights
        total = torch.ldexp(wide, self.exponents.to(torch.int32)).sum(0).to(self.dtype)
        if self.scale is None:
            return total
        return total * self.scale.reshape(-1, *(1,) * (total.dim() - 1))


def power_of_two_codes(weight: Tensor, min_exponent: int, max_exponent: int) -> Codes:
    """The codes of a weight of which each element is 0 or a signed power of two with such an exponent.

    Codes of any other weight decode to something else.

    Args:
        weight: any shape, floating.
        min_exponent, max_exponent: that a code can hold.
    """
    mantissa, exponent = torch.frexp(weight.detach().to(torch.promote_types(weight.dtype, torch.float32)))
    signs = mantissa.sign().nan_to_num().to(torch.int8)
    exponents = (exponent - 1).clamp(min_exponent, max_exponent).to(torch.int16)
    return Codes(signs[None], exponents[None], dtype=weight.dtype)


def is_power_of_two(values: Tensor) -> Tensor:
    """Mask of the values that are finite and 0 or a signed power of two; bool of their shape."""
    mantissa, _ = torch.frexp(values.detach().to(torch.promote_types(values.dtype, torch.float32)))
    return values.isfinite() & ((mantissa.abs() == 0.5) | (values == 0))
