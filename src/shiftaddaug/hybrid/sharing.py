"""How one weight serves two kinds of layers: heterogeneous sharing, and what the augmented part computes with."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.operators.base import Operator

GRADIENTS = ("inverse", "chain")


@dataclass(frozen=True)
class Sharing:
    """What the layers of a supernet agree on.

    Args:
        remap: R, from the stored weight (Gaussian form) to the operator's; None reads the weight as it is stored.
        gradient: how the operator's update of R(W) reaches W. `chain`: by the chain rule, multiplied by R'(W), so that
            a step s of R(W) becomes s R'^2. `inverse`: the operator's own (rescaled) update divided by R'(W), so that
            its step of R(W) is what the operator wanted.
        multiplicative_augmentation: whether the augmented part multiplies (the method); else it computes with the
            target's operator (the paper's control).

    Raises:
        UserError: an unknown value.
    """

    remap: Remap | None = None
    gradient: Literal["inverse", "chain"] = "inverse"
    multiplicative_augmentation: bool = True

    def __post_init__(self) -> None:
        if self.gradient not in GRADIENTS:
            raise UserError(f"sharing.gradient={self.gradient}: options: {', '.join(GRADIENTS)}")

    def read(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """What operators compute with, given stored weights (before their `effective_weight`).

        The gradient passes R unchanged: `update` converts it, once, after all passes have contributed.
        """
        if self.remap is None or not weights:
            return list(weights)
        return list(_StraightThrough.apply(self.remap, *weights))

    @torch.no_grad()
    def slopes(self, weights: Sequence[Tensor]) -> list[Tensor | None]:
        """dR/dW of each stored weight, for `update`; None where there is no R."""
        if self.remap is None or not weights:
            return [None] * len(weights)
        return list(self.remap.slopes(weights))

    @torch.no_grad()
    def update(self, operator: Operator, slope: Tensor | None, gradient: Tensor) -> Tensor:
        """The update direction of a stored weight, given the accumulated gradient of R(weight) and R's slope."""
        if slope is None:
            return operator.rescale_gradient(gradient)
        if self.gradient == "chain":
            return operator.rescale_gradient(gradient * slope)
        return operator.rescale_gradient(gradient) / slope


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, remap: Remap, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(remap.values(weights))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *gradients


PLAIN = Sharing()
"""Weights are read as they are stored; the augmented part multiplies."""


def sharing_from_config(config: Mapping[str, Any], operator: str, multiplicative_augmentation: bool = True) -> Sharing:
    """What a composed yaml of configs/sharing says for an operator (by its name).

    Raises:
        UserError: a remap that cannot be, or a remap file that cannot be read.
    """
    if config["name"] != "heterogeneous":
        return Sharing(multiplicative_augmentation=multiplicative_augmentation)
    if config.get("remap_file") is not None:
        remap = Remap(**read_remap(config["remap_file"]))
    elif operator in config.get("remaps", {}):
        remap = Remap(**config["remaps"][operator])
    else:
        return Sharing(multiplicative_augmentation=multiplicative_augmentation)
    return Sharing(remap, config["gradient"], multiplicative_augmentation)


def read_remap(path: str) -> dict[str, Any]:
    """The fields of a remap.yaml as `src/fit_sharing.py` writes it.

    Raises:
        UserError: not such a file.
    """
    from omegaconf import OmegaConf

    try:
        fields = OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:
        raise UserError(f"sharing.remap_file={path}: cannot be read ({' '.join(str(error).split())[:100]})") from None
    known = {field.name for field in dataclasses.fields(Remap)}
    if not isinstance(fields, dict) or not set(map(str, fields)) <= known or "form" not in fields:
        raise UserError(f"sharing.remap_file={path}: holds no remap (keys: {', '.join(sorted(known))})")
    return {str(key): value for key, value in fields.items()}
