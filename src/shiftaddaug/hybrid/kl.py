"""The baseline to the remap: a penalty that pulls weights to their operator's distribution (ShiftAddNAS, ICML 2022).

ShiftAddNAS adds to the loss, in its code, 10 times the sum over layers of

    F.kl_div(log_softmax(w, 0), softmax(s, 0), reduction="none").mean()

with w the flattened weight and s a fresh sample of as many elements at each forward pass, of Laplace(0, 2) for add
layers and of Normal(0, 1) for convolutions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.hybrid.settings import kind_of_sharing
from shiftaddaug.hybrid.weight import HybridWeight
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.settings import WeightPrior
from shiftaddaug.seeding import derive_seed
from shiftaddaug.settings import Scale, Seed, Weight, check_fields


@dataclass(frozen=True)
class KlPenalty:
    """The published penalty on the target's weights. Operators say what they are pulled to (`weight_prior`).

    NOTE: the samples are a function of (seed, epoch, batch, layer), so that a resumed run draws what it would have
    drawn, and nothing else is drawn otherwise. ShiftAddNAS draws them from the global generator.
    NOTE: ShiftAddNAS' convolutions compute their term and return 0 in its place; its paper has both. With
    `normal_std=None` the sum is that of its code. Its shift layers have no term.
    NOTE: ShiftAddNAS' add layers read the shared weight through a trained piecewise linear map, of which ShiftAddAug
    says that it diverges. Here w is the weight itself; `sharing=affine` has the map, without a penalty.

    Args:
        weight: factor of the sum.
        laplace_scale: b of the samples for layers whose prior is Laplacian.
        normal_std: standard deviation of those for layers whose prior is normal; None leaves these layers alone.
        seed: of the samples.

    Raises:
        UserError: a field outside its range.
    """

    weight: Weight = 10.0
    laplace_scale: Scale = 2.0
    normal_std: Scale | None = 1.0
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields("sharing", self)

    def __call__(
        self, layers: Mapping[str, HybridWeight], operators: Mapping[str, Operator], epoch: int, batch: int
    ) -> Tensor:
        """Return the penalty of a training step, a scalar >= 0, differentiable, in nats.

        Args:
            layers: that are pulled, by name.
            operators: that layers compute with in this step, by their name.
            epoch, batch: of the step, which choose the samples.
        """
        total = torch.zeros(())
        for name, layer in layers.items():
            sample = self.sample(operators[name].weight_prior, math.prod(layer.target_shape), epoch, batch, name)
            if sample is not None:
                weight = layer.target_parameters()["weight"]
                total = total.to(weight.device) + divergence(weight, sample.to(weight.device))
        return self.weight * total

    def sample(self, prior: WeightPrior | None, count: int, epoch: int, batch: int, layer: str) -> Tensor | None:
        """Return what a layer's weight is compared with, float32 (count,) on the CPU; None if with nothing."""
        generator = torch.Generator().manual_seed(derive_seed("kl", self.seed, epoch, batch, layer))
        if prior == "laplace":  # the difference of two exponential variables
            first, second = torch.empty(2, count).exponential_(generator=generator)
            return self.laplace_scale * (first - second)
        if prior == "normal" and self.normal_std is not None:
            return self.normal_std * torch.randn(count, generator=generator)
        return None


def divergence(weight: Tensor, sample: Tensor) -> Tensor:
    """Return the mean over elements of p (ln p - ln q), p the softmax of the sample, q that of the weight.

    Args:
        weight: any shape, of n elements; half precision is computed in float32.
        sample: (n,).
    """
    weight = weight.flatten()
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    return F.kl_div(F.log_softmax(weight, 0), F.softmax(sample.to(weight.dtype), 0), reduction="none").mean()


def penalty_from_config(config: Mapping[str, Any]) -> KlPenalty | None:
    """The penalty of a composed yaml of configs/sharing; None if it has none.

    Raises:
        UserError: a field outside its range.
    """
    if not kind_of_sharing(config).penalises:
        return None
    return KlPenalty(**{key: value for key, value in config.items() if key != "name"})
