"""How one weight serves two kinds of layers: heterogeneous sharing, and what the augmented part computes with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.affine import AffineMap
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.settings import kind_of_sharing
from shiftaddaug.operators.base import Operator

GRADIENTS = ("inverse", "chain")


class NetSharing(Protocol):
    """How the layers of a supernet share their weights, each by its operator."""

    @property
    def multiplicative_augmentation(self) -> bool:
        """Whether the augmented part multiplies (the method); else it computes with the target's operator."""

    def of(self, operator: Operator) -> "Sharing":
        """How a layer of that operator shares its weight."""


@dataclass(frozen=True)
class Sharing:
    """How a layer shares its weight, or how all layers of a net do that may be remapped at all.

    Args:
        remap: R, from the stored weight (Gaussian form) to the operator's; None reads the weight as it is stored.
        gradient: how the operator's update of R(W) reaches W. `chain`: by the chain rule, multiplied by R'(W), so that
            a step s of R(W) becomes s R'^2. `inverse`: the operator's own (rescaled) update divided by R'(W), so that
            its step of R(W) is what the operator wanted.
        multiplicative_augmentation: whether the augmented part multiplies (the method); else it computes with the
            target's operator (the paper's control).
        affine: T in place of R, whose factors the layer trains. It has `gradient`, too, but its chain rule is of the
            operator's update (`hybrid/updates.py`).

    Raises:
        UserError: an unknown value.
    """

    remap: Remap | None = None
    gradient: Literal["inverse", "chain"] = "inverse"
    multiplicative_augmentation: bool = True
    affine: AffineMap | None = None

    def __post_init__(self) -> None:
        if self.gradient not in GRADIENTS:
            raise UserError(f"sharing.gradient={self.gradient}: options: {', '.join(GRADIENTS)}")

    @property
    def converts(self) -> bool:
        """Whether operators read another weight than is stored, which is in Gaussian form then."""
        return self.remap is not None or self.affine is not None

    def of(self, operator: Operator) -> "Sharing":
        """Return this sharing for operators that take part; the others read what is stored."""
        return self if operator.turns else PLAIN

    def read(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """What operators compute with, given stored weights (before their `effective_weight`).

        The gradient passes R unchanged: `update` converts it, once, after all passes have contributed.
        """
        if self.remap is None or not weights:
            return list(weights)
        return list(_StraightThrough.apply(self.remap.values, *weights))

    def read_around(self, weight: Tensor, target: Tensor) -> Tensor:
        """What the operator computes with around the target's slice, and in it: R with the slice's mean and spread."""
        if self.remap is None:
            return weight
        (value,) = _StraightThrough.apply(lambda weights: self.remap.values(weights, [target]), weight)
        return value

    def stored(self, weights: Sequence[Tensor], measured: Sequence[Tensor] | None = None) -> list[Tensor]:
        """The stored weights as they are; their gradient divided by R', so that it is one of R(weight).

        Args:
            weights, measured: as of `slopes`.
        """
        slopes = self.slopes(weights, measured)
        return [
            w if slope is None else _DividedGradient.apply(w, slope) for w, slope in zip(weights, slopes, strict=True)
        ]

    @torch.no_grad()
    def slopes(self, weights: Sequence[Tensor], measured: Sequence[Tensor] | None = None) -> list[Tensor | None]:
        """Return dR/dW of each stored weight, for `update`; None where there is no R.

        Args:
            weights: stored.
            measured: for each, the one whose mean and spread R takes; by default itself.
        """
        if self.remap is None or not weights:
            return [None] * len(weights)
        return list(self.remap.slopes(weights, measured))

    @torch.no_grad()
    def update(
        self, operator: Operator, name: str, parameter: Tensor, gradient: Tensor, slope: Tensor | None = None
    ) -> Tensor:
        """The update direction of a stored parameter, given its accumulated gradient.

        Args:
            operator: that publishes the direction.
            name: of the parameter.
            parameter: its value, as the operator reads it where it asks for that (`rescales_by_value`).
            gradient: of R(weight), where there is R.
            slope: of R.
        """
        if slope is None:
            return operator.rescale_gradient(name, parameter, gradient)
        if self.gradient == "chain":
            return operator.rescale_gradient(name, parameter, gradient * slope)
        return operator.rescale_gradient(name, parameter, gradient) / slope


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Callable[[Sequence[Tensor]], list[Tensor]], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(values(weights))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *gradients


class _DividedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return (gradient / slope).to(gradient.dtype), None


PLAIN = Sharing()
"""Weights are read as they are stored; the augmented part multiplies."""


@dataclass(frozen=True)
class Heterogeneous:
    """Heterogeneous weight sharing: each operator reads shared weights through an R with its own constants.

    Args:
        gradient, multiplicative_augmentation: as of `Sharing`.
    """

    gradient: Literal["inverse", "chain"] = "inverse"
    multiplicative_augmentation: bool = True

    def of(self, operator: Operator) -> Sharing:
        """Return the sharing through R of the operator, if it has one."""
        if not operator.turns:
            return PLAIN
        remap = None if operator.remap is None else Remap(**operator.remap.config())
        return Sharing(remap, self.gradient, self.multiplicative_augmentation)


def sharing_from_config(config: Mapping[str, Any], multiplicative_augmentation: bool = True) -> NetSharing:
    """What a composed yaml of configs/sharing says.

    Raises:
        UserError: an option that is none.
    """
    kind = kind_of_sharing(config)
    if not kind.converts:
        return Sharing(multiplicative_augmentation=multiplicative_augmentation)
    gradient = config.get("gradient", "inverse")
    if gradient not in GRADIENTS:
        raise UserError(f"sharing.gradient={gradient}: options: {', '.join(GRADIENTS)}")
    if kind.learns:
        affine = AffineMap(config["pieces"], config["start"])
        return Sharing(None, gradient, multiplicative_augmentation, affine)
    if config.get("remap_file") is not None:
        raise UserError(
            f"sharing.remap_file={config['remap_file']}: was not read when the run began; give its constants"
        )
    return Heterogeneous(gradient, multiplicative_augmentation)
