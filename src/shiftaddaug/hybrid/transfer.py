"""Weights of one layer put into another: how a layer begins with what was trained before."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.layers import HybridLayer
from shiftaddaug.hybrid.norm import HybridBatchNorm2d
from shiftaddaug.hybrid.reading import MULT
from shiftaddaug.operators.base import Operator


@torch.no_grad()
def take_layer(ours: HybridLayer, theirs: nn.Module, inputs: int | None = None) -> None:
    """Let a layer compute what another does, in a target of the same shape.

    The other multiplies, or computes with the same operator, or with one that is linear in its weight while ours
    multiplies. A layer as wide is taken whole, with what surrounds its target; else that stays as it was drawn.

    Args:
        ours: written to.
        theirs: of a supernet, or a plain one with an effective weight and an `operator`.
        inputs: channels of the image, where a multiplication reads another number than theirs did.

    Raises:
        UserError: saying what the two have not in common; the layer is left half written.
    """
    operator: Operator = theirs.operator  # type: ignore[assignment]
    if operator == MULT:
        if "weight" not in ours.parameter_names:
            trained = ", ".join(ours.parameter_names)
            raise UserError(f"multiplies, and op={ours.operator.name} trains {trained} and no weight")
        weight: Tensor = theirs.weight  # type: ignore[assignment]
        _put(ours, {"weight": weight if inputs is None else with_inputs(weight, inputs)}, theirs)
    elif inputs is not None and theirs.weight.shape[1] != inputs:  # type: ignore[index, union-attr]
        raise UserError(f"reads {theirs.weight.shape[1]} channels there, and {inputs} here, with op={operator.name}")  # type: ignore[index, union-attr]
    elif operator.name == ours.operator.name or (ours.operator == MULT and operator.linear_in_weight):
        _take_same(ours, theirs, operator)
    else:
        raise UserError(f"computes with op={operator.name}, and here with op={ours.operator.name}")
    bias = getattr(theirs, "bias", None)
    if ours.bias is not None and bias is not None:
        channels = len(bias) if len(bias) == len(ours.bias) else ours.target_shape[0]
        ours.bias.data[:channels].copy_(bias[:channels])


def take_norm(ours: HybridBatchNorm2d, theirs: HybridBatchNorm2d | nn.BatchNorm2d) -> None:
    """Let a norm scale, shift and normalise as another does, in a target of as many channels."""
    whole = ours.weight.shape == theirs.weight.shape
    channels = len(ours.weight) if whole else ours.widths.target
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(ours, name).data[:channels].copy_(getattr(theirs, name).data[:channels])
    ours.num_batches_tracked.copy_(theirs.num_batches_tracked)  # type: ignore[arg-type]


def with_inputs(weight: Tensor, channels: int) -> Tensor:
    """Return the weight of an image's convolution for another number of channels.

    One channel gets the sum over all; of more, the weight's are repeated in turn, and scaled so that an image of equal
    channels gives what it gave (as timm adapts its first convolutions).

    Args:
        weight: (F, C, kh, kw).
        channels: wanted.

    Returns:
        Tensor (F, channels, kh, kw).
    """
    held = weight.shape[1]
    if channels == held:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    turns = torch.arange(channels, device=weight.device) % held
    return weight[:, turns] * (held / channels)


def _take_same(ours: HybridLayer, theirs: nn.Module, operator: Operator) -> None:
    """Try what is stored, then what is read of it, until the layer computes with the same weight as the other."""
    wanted = _computed(theirs)
    for tensors in _stored(theirs, wanted):
        if {*tensors} >= {*ours.parameter_names}:
            _put(ours, tensors, theirs)
            found = ours.operator_weight()
            if torch.allclose(found, wanted.to(found), rtol=1e-5, atol=1e-7):
                return
    raise UserError(f"stores op={operator.name} otherwise (its sharing, its settings, or a target's folder)")


def _stored(theirs: nn.Module, computed: Tensor) -> Iterator[dict[str, Tensor]]:
    if isinstance(theirs, HybridLayer):
        yield {name: getattr(theirs, name) for name in _names(theirs)}
        if "weight" in theirs.parameter_names:
            read = theirs.read(theirs.target_parameters()["weight"])
            yield theirs.tensors() | {"weight": read}
    yield {"weight": computed}


def _names(layer: HybridLayer) -> tuple[str, ...]:
    return (*layer.parameter_names, *layer.buffer_names, *layer.map_names)


def _computed(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.operator_weight() if isinstance(layer, HybridLayer) else layer.weight  # type: ignore[assignment]
    return weight.detach()


def _put(ours: HybridLayer, tensors: Mapping[str, Tensor], theirs: nn.Module) -> None:
    """Copy tensors by name; of the weight the target's slice, or all of it from a layer that is as wide."""
    own = {name: getattr(ours, name) for name in _names(ours)}
    for name, value in tensors.items():
        if name not in own:
            continue
        whole = value.shape == own[name].shape and ours.sources == getattr(theirs, "sources", ours.sources)
        if name != "weight" or whole:
            own[name].data.copy_(value)
        else:
            rows, columns = ours.target_shape[:2]
            own[name].data[:rows, :columns].copy_(value[:rows, :columns])
