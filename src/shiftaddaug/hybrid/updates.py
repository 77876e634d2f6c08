"""How the accumulated gradient of a layer's stored weight becomes the update direction that its operator publishes."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shiftaddaug.hybrid.affine import AffineMap, gradient_of_factors
from shiftaddaug.hybrid.alternative import Reader
from shiftaddaug.hybrid.cut import Cut
from shiftaddaug.hybrid.sources import active_target_positions

if TYPE_CHECKING:
    from shiftaddaug.hybrid.weight import HybridWeight

Index = tuple[slice | Tensor, ...]


@torch.no_grad()
def rescale_weight(
    layer: "HybridWeight", gradient: Tensor, reader: Reader, slope: Tensor | None, cut: Cut | None
) -> None:
    """Rescale a gradient in place.

    Args:
        layer: whose weight's it is.
        gradient: of what the operator read, at the places of the stored weight.
        reader: what computed.
        slope: of R at the target's slice of the weight, if known; computed if need be.
        cut: the widest that a pass used, where that is less than the target.
    """
    operator, sharing = reader.operator, reader.sharing
    if sharing.affine is not None:
        _rescale_affine(layer, gradient, reader, sharing.affine, cut)
        return
    if not sharing.multiplicative_augmentation:
        _rescale_augmented(layer, gradient, reader)
    stored, target = layer.target_slice(layer.weight).detach(), layer.target_slice(gradient)
    if slope is None:
        (slope,) = sharing.slopes([stored])
    read = sharing.read([stored])[0] if operator.rescales_by_value else stored
    if cut is None:
        replace(target, sharing.update(operator, "weight", read, target, slope))
        return
    active = active_target(layer, cut)
    slope = None if slope is None else slope[active]
    target[active] = sharing.update(operator, "weight", read[active], target[active], slope)


def active_target(layer: "HybridWeight", cut: Cut) -> Index:
    """Return the index of what a pass used of the target's slice."""
    index: list[slice | Tensor] = [slice(cut.out.target), slice(None)]
    if not layer.depthwise:
        index[1] = active_target_positions(layer.sources, cut.sources)
    if cut.kernel is not None:
        side = max((cut.kernel, *layer.transforms))  # of what a transformed kernel is made of
        first = (layer.full_shape[-1] - side) // 2
        index += 2 * [slice(first, first + side)]
    return tuple(index)


def _rescale_augmented(layer: "HybridWeight", gradient: Tensor, reader: Reader) -> None:
    """Rescale the gradient around the target: to the operator, what took part there is a tensor of its own."""
    active, operator, sharing = _around(layer, gradient), reader.operator, reader.sharing
    if active.any():
        stored, target = layer.weight.detach(), layer.target_slice(layer.weight).detach()
        (slope,) = sharing.slopes([stored], [target])
        read = sharing.read_around(stored, target) if operator.rescales_by_value else stored
        slope = slope if slope is None else slope[active]
        updated = sharing.update(operator, "weight", read[active], gradient[active], slope)
        gradient[active] = updated.to(gradient.dtype)


def _rescale_affine(
    layer: "HybridWeight", gradient: Tensor, reader: Reader, affine: AffineMap, cut: Cut | None
) -> None:
    """Rescale the gradient of T(W), and what the factors of T get of it.

    The operator is asked for its update of T(W). The factors get that by the chain rule. The stored weight gets it by
    the chain rule, too, or divided by T' = a_i, as `sharing.gradient` says.

    NOTE: with `chain`, AdderNet's rate is that of T(W), as in ShiftAddNAS, where R has it of W.
    """
    stored, factors = layer.weight.detach(), layer.factors
    target = layer.target_slice(stored)
    piece = affine.piece(stored, target)
    slope = factors.detach()[piece]
    wanted = torch.zeros_like(gradient)
    ours, theirs, read = (layer.target_slice(tensor) for tensor in (wanted, gradient, slope * stored))
    active = ... if cut is None else active_target(layer, cut)
    ours[active] = reader.operator.rescale_gradient("weight", read[active], theirs[active])  # type: ignore[index]
    concerned = torch.zeros_like(stored, dtype=torch.bool)
    layer.target_slice(concerned).fill_(True)
    if not reader.sharing.multiplicative_augmentation:
        around = _around(layer, gradient)
        if around.any():
            wanted[around] = reader.operator.rescale_gradient("weight", (slope * stored)[around], gradient[around])
        concerned |= around
    if factors.grad is not None:
        factors.grad.copy_(gradient_of_factors(stored, wanted, piece, affine.pieces))
    chained = wanted * slope if reader.sharing.gradient == "chain" else (wanted / slope).masked_fill_(slope == 0, 0.0)
    gradient[concerned] = chained[concerned]


def _around(layer: "HybridWeight", gradient: Tensor) -> Tensor:
    """Return where a gradient is not zero around the target, bool."""
    active = gradient != 0
    layer.target_slice(active).zero_()
    return active


def replace(tensor: Tensor, value: Tensor) -> None:
    """Copy a value into a tensor, if it is not the tensor itself."""
    if value is not tensor:
        tensor.copy_(value)
