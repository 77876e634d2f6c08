"""The precisions that a trainer offers, and how far a layer computed in one may be from float64."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor


class Precision(NamedTuple):
    """`dtype` of all that is given, `cast` of autocast, and the unit roundoff of the coarser of the two."""

    dtype: torch.dtype
    cast: torch.dtype | None
    roundoff: float

    def autocast(self) -> AbstractContextManager[object]:
        return nullcontext() if self.cast is None else torch.autocast("cpu", self.cast)

    def error(self, result: Tensor, wanted: Tensor) -> float:
        """|result - wanted| / |wanted|, Euclidean, in unit roundoffs."""
        distance = torch.linalg.vector_norm(result.double() - wanted.double())
        return float(distance / torch.linalg.vector_norm(wanted.double())) / self.roundoff


PRECISIONS = {
    "32-true": Precision(torch.float32, None, 2.0**-24),
    "64-true": Precision(torch.float64, None, 2.0**-53),
    "bf16-true": Precision(torch.bfloat16, None, 2.0**-9),
    "16-true": Precision(torch.float16, None, 2.0**-12),
    "bf16-mixed": Precision(torch.float32, torch.bfloat16, 2.0**-9),
    "16-mixed": Precision(torch.float32, torch.float16, 2.0**-12),
}
ROUNDINGS = 8
"""Unit roundoffs that a layer may be off: inputs, weights and results are rounded once each, and a sum of hundreds
of products in float32 a few times."""
