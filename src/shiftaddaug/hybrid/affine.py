"""The learned baseline to the remap: a trained factor for each piece of the range of a layer's weights (ShiftAddNAS).

    T(w) = a_i w    where w lies in the i-th of n equal pieces between the smallest and the largest weight

ShiftAddNAS (ICML 2022, arXiv 2205.08119) reads the shared weights of its add layers so, in its code: n = 100, all a_i
are drawn from N(0, 1) and trained with the weights. It calls T piecewise affine, though T has no offsets.
ShiftAddAug (arXiv 2407.02881) says that a learned transform diverges.

NOTE: there, the largest weight lies in no piece and becomes 0. Here it lies in the last one.
NOTE: there, add layers alone have a T. Here every layer whose operator takes part in sharing has one.
NOTE: there, the pieces are of a whole tensor. Here they are of the target's slice: what lies beyond them in a wider one
has the factors of the end pieces, and a narrower sub-network reads a slice of what the target reads.
NOTE: there, `KlPenalty` is added, of T(w). Here that is `sharing=kl`, of w.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Start = Literal["operator", "normal"]


@dataclass(frozen=True)
class AffineMap:
    """The form of T; its factors (pieces,) belong to a layer.

    Args:
        pieces: n.
        start: `operator` has T bring the first weights to the spread that the operator would draw; `normal` draws the
            factors from N(0, 1) (ShiftAddNAS).
    """

    pieces: int = 100
    start: Start = "operator"

    def first(self, stored: Tensor, own: Tensor) -> Tensor:
        """Return factors to begin with, float32 (pieces,).

        Args:
            stored: the target's slice, freshly drawn.
            own: a weight of its shape, as the operator draws it.
        """
        if self.start == "normal":
            return torch.randn(self.pieces)
        ratio = own.double().std(correction=0) / stored.double().std(correction=0)
        return torch.full((self.pieces,), float(ratio) if 0 < ratio < torch.inf else 1.0)

    def read(self, weight: Tensor, factors: Tensor, measured: Tensor | None = None) -> Tensor:
        """Return T(weight), of its shape and dtype.

        The gradient reaches the factors by the chain rule, and the weight as if T were the identity: `HybridWeight`
        converts the latter once, after all passes have contributed.

        Args:
            weight: any shape.
            factors: (pieces,).
            measured: whose range is cut in pieces; by default the weight.
        """
        value: Tensor = _Factored.apply(weight, factors, self.piece(weight, measured))
        return value

    def slope(self, weight: Tensor, factors: Tensor, measured: Tensor | None = None) -> Tensor:
        """Return dT/dw = a_i of each element, w's shape."""
        return factors.detach()[self.piece(weight, measured)]

    @torch.no_grad()
    def piece(self, weight: Tensor, measured: Tensor | None = None) -> Tensor:
        """Return i of each element, int64; 0 where all weights are equal."""
        low, high = (weight if measured is None else measured).aminmax()
        share = (weight - low) / (high - low)
        return (share * self.pieces).nan_to_num(0.0).clamp(0, self.pieces - 1).long()


def gradient_of_factors(weight: Tensor, gradient: Tensor, piece: Tensor, count: int) -> Tensor:
    """Return the sum of w g over each piece, (count,): the chain rule, given the gradient g of T(w)."""
    products = (weight * gradient).reshape(-1)
    return products.new_zeros(count).index_add_(0, piece.reshape(-1), products)


class _Factored(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, factors: Tensor, piece: Tensor) -> Tensor:
        ctx.save_for_backward(weight, piece)
        ctx.count = len(factors)
        return weight * factors[piece]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, piece = ctx.saved_tensors
        return gradient, gradient_of_factors(weight, gradient, piece, ctx.count), None
