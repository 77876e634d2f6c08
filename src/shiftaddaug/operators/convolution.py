"""Operators that are ordinary convolutions with the weight that they are given."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.kernels.depthwise import depthwise_conv2d
from shiftaddaug.kernels.layout import plain_weight
from shiftaddaug.kernels.tracing import is_recorded
from shiftaddaug.operators.base import Operator, Pair


@dataclass(frozen=True)
class Convolution(Operator):
    """Ordinary convolution Y = X * W: torch's own, or for depthwise ones the path that trains faster here."""

    def conv2d(
        self, x: Tensor, weight: Tensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
    ) -> Tensor:
        if is_recorded():  # of a trace no size is asked, since that would be recorded, too
            return F.conv2d(x, weight, None, stride, padding, dilation, groups)
        if groups == x.shape[1] > 1:
            return depthwise_conv2d(x, weight, stride, padding, dilation)
        if groups > 1 or weight.shape[0] == 1 or not _in_torch_s_order(weight):
            weight = plain_weight(weight)
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)


def _in_torch_s_order(weight: Tensor) -> bool:
    return weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
