"""add: the negated l1 distance between a patch and a filter (AdderNet, Chen et al., CVPR 2020, arXiv 1912.13200)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shiftaddaug.kernels import add as kernels
from shiftaddaug.kernels.tracing import fixed_sizes
from shiftaddaug.operators.add.settings import AddSettings
from shiftaddaug.operators.base import Operator, Pair, Tensors


@dataclass(frozen=True)
class Add(AddSettings, Operator):
    """Negated l1 distance Y = -c sum |X - W|, c = 1 or a fixed power of two; gradients as in `kernels.add`.

    The gradients and the learning rate of AdderNet's study are settings: `weight_gradient`, `input_gradient`, `rate`.
    The defaults are those that AdderNet chose.

    Under autocast everything is computed, and returned, in float32: a sum of many magnitudes needs the bits.

    NOTE: AdderNet's code uses eta = 0.2 (its text 0.1) and weights ~ N(0, 1). In narrow inverted bottlenecks these
    outputs are about -sum |x| for every filter: the channels say the same, and the net stays at chance. Where |w|
    is larger than |x| the operator acts like a sum signed by the weights. Hence the defaults; a step of the weights
    has to grow with their scale, so eta goes with init_std.

    Raises:
        UserError: a field outside its range.
    """

    def init_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"weight": torch.randn(shape) * self.init_std}

    def effective_weight(self, tensors: Tensors) -> Tensor:
        return tensors["weight"]

    def conv2d(
        self, x: Tensor, weight: Tensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
    ) -> Tensor:
        scale = 2.0 ** self.output_exponent(math.prod(fixed_sizes(weight)[1:]))
        gradients = (self.weight_gradient, self.input_gradient)
        return kernels.add_conv2d(x, weight, stride, padding, dilation, groups, scale, *gradients)

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        if x.dim() == 2 and torch.jit.is_tracing():  # sizes that are looked at would be recorded
            return self.conv2d(x[:, :, None, None], weight[:, :, None, None]).flatten(1)
        if weight.dim() != 2 or x.dim() == 0 or x.shape[-1] != weight.shape[1]:
            raise ValueError(
                f"weight {tuple(weight.shape)} does not fit input {tuple(x.shape)}: (F, C) and (..., C) expected"
            )
        y = self.conv2d(x.reshape(-1, x.shape[-1], 1, 1), weight[:, :, None, None])
        return y.reshape(*x.shape[:-1], weight.shape[0])

    def reference_conv2d(
        self, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Tensor:
        scale = 2.0 ** self.output_exponent(weight[0].numel())
        return kernels.naive.add_conv2d(x, weight, stride, padding, dilation, groups, scale)

    def describe(self, device: str) -> str:
        return f"add layers: {kernels.describe(device)}"

    def output_exponent(self, inputs: int) -> int:
        """Exponent of the output's scale for a filter of that many inputs, in / groups * kh * kw; 0 if unscaled."""
        return -round(0.5 * math.log2(inputs)) if self.output_scale else 0

    def rescale_gradient(self, name: str, parameter: Tensor, gradient: Tensor) -> Tensor:
        """Return eta sqrt(k) g / ||g||_2, k the number of elements of g (AdderNet, section 3.3, equation 13).

        A zero gradient stays zero. Same shape and dtype as the gradient, which is left as it is. It is the
        gradient itself where `rate` is uniform.
        """
        if self.rate == "uniform":
            return gradient
        # Scaling by the largest element first keeps the squares of tiny gradients from vanishing.
        values = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        largest = torch.linalg.vector_norm(values, ord=math.inf)
        values = values / torch.where(largest == 0, 1.0, largest)
        norm = torch.linalg.vector_norm(values).clamp_min(1.0)  # at least 1 unless the gradient is zero
        rescaled: Tensor = values * (self.eta * math.sqrt(gradient.numel()) / norm)
        return rescaled.to(gradient.dtype)


OPERATOR = Add
