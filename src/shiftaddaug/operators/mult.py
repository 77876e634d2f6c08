"""mult: the ordinary convolution and linear layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftaddaug.operators.base import Operator, Pair


def kaiming_uniform(shape: tuple[int, ...]) -> Tensor:
    """Float32 weight of this shape ~ U(-b, b), b = 1 / sqrt(fan_in): torch's own default for convolutions.

    NetAug keeps it because fan-out initialisation fails at large expand ratios (NetAug, repository notes).
    """
    weight = torch.empty(shape)
    nn.init.kaiming_uniform_(weight, a=5**0.5)
    return weight


@dataclass(frozen=True)
class Mult(Operator):
    """Y = X * W."""

    name = "mult"
    multiplication_free = False
    shareable = True

    @property
    def linear_in_weight(self) -> bool:
        return True

    def init_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"weight": kaiming_uniform(shape)}

    def effective_weight(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return parameters["weight"]

    def conv2d(
        self, x: Tensor, weight: Tensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
    ) -> Tensor:
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)


OPERATOR = Mult
