"""mult: the ordinary convolution and linear layer."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shiftaddaug.operators.base import Tensors
from shiftaddaug.operators.convolution import Convolution
from shiftaddaug.operators.mult.settings import MultSettings


def kaiming_uniform(shape: tuple[int, ...]) -> Tensor:
    """Float32 weight of this shape ~ U(-b, b), b = 1 / sqrt(fan_in): torch's own default for convolutions.

    NetAug keeps it because fan-out initialisation fails at large expand ratios (notes to its code).
    """
    weight = torch.empty(shape)
    nn.init.kaiming_uniform_(weight, a=5**0.5)
    return weight


def kaiming_normal(shape: tuple[int, ...]) -> Tensor:
    """Float32 weight of this shape ~ N(0, s^2), with the spread s = 1 / sqrt(3 fan_in) of `kaiming_uniform`."""
    fan_in = max(1, math.prod(shape[1:]))
    return torch.randn(shape) / math.sqrt(3 * fan_in)


@dataclass(frozen=True)
class Mult(MultSettings, Convolution):
    """Ordinary convolution Y = X * W."""

    @property
    def linear_in_weight(self) -> bool:
        return True

    def init_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"weight": kaiming_uniform(shape)}

    def effective_weight(self, tensors: Tensors) -> Tensor:
        return tensors["weight"]


OPERATOR = Mult
