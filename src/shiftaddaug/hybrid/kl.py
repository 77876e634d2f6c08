"""The baseline to the remap: a penalty that pulls the weights of add layers to a Laplacian (ShiftAddNAS, ICML 2022)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shiftaddaug.hybrid.settings import kind_of_sharing
from shiftaddaug.hybrid.weight import HybridWeight
from shiftaddaug.settings import NonNegativeNumber, Number, PositiveNumber, check, check_fields

FLOOR = 1e-6
"""Least fitted scale, in units of the prior's: weights without spread keep a finite divergence."""


@dataclass(frozen=True)
class KlPenalty:
    """KL(Laplace(m, s) || Laplace(mean, scale)), m and s those of the weights.

    NOTE: ShiftAddNAS pulls the weights of add layers to Laplace(0, 2) without a formula for their own distribution.
    The reading built here fits a Laplacian to them: m their mean, s their mean absolute deviation from m. Both carry
    the gradient.
    NOTE: ShiftAddAug found it harmful, which is why it is here: to be compared with.

    Raises:
        UserError: a field outside its range.
    """

    scale: PositiveNumber = 2.0
    mean: Number = 0.0

    def __post_init__(self) -> None:
        check_fields("sharing", self)

    def __call__(self, w: Tensor) -> Tensor:
        """The divergence in nats, a scalar >= 0, differentiable, float32 or wider; finite without spread too.

        With d = |m - mean|: ln(scale / s) + (s exp(-d / s) + d) / scale - 1. Below FLOOR scale, s counts as that and
        has no gradient.
        """
        w = w.to(torch.promote_types(w.dtype, torch.float32))
        m = w.mean()
        s = (w - m).abs().mean().clamp_min(FLOOR * self.scale)
        d = (m - self.mean).abs()
        return math.log(self.scale) - torch.log(s) + (s * torch.exp(-d / s) + d) / self.scale - 1


def penalty_from_config(config: Mapping[str, Any]) -> Callable[[nn.Module], Tensor] | None:
    """The penalty of a composed yaml of configs/sharing, as a function of the supernet; None if it has none.

    It is the sum over the multiplication-free layers of `weight` times the divergence of the target's weights.

    Raises:
        UserError: a field outside its range.
    """
    if not kind_of_sharing(config).penalises:
        return None
    penalty, weight = KlPenalty(config["scale"], config["mean"]), config["weight"]
    check("sharing.weight", weight, NonNegativeNumber)

    def total(net: nn.Module) -> Tensor:
        layers = [module for module in net.modules() if isinstance(module, HybridWeight)]
        free = [layer for layer in layers if layer.operator.turns]
        divergences = [penalty(layer.target_parameters()["weight"]) for layer in free]
        return weight * torch.stack(divergences).sum() if divergences else torch.zeros(())

    return total
