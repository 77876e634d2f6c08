"""What a deployed target must be before anyone is told of it: multiplication-free, and exactly what was trained."""

from typing import Any

import torch

from shiftaddaug.errors import UserError
from shiftaddaug.nets.extract import Target, extract_target, max_difference, unexpected_multiplications
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.supernet import Supernet

MOVED = 1.1
"""Factor on trained tensors for a proof of fresh weights: no power of two."""
EXACTNESS_IMAGES = 16
"""Images on which the extracted target is compared with the supernet's target path."""


def extract_checked(supernet: Supernet, config: dict[str, Any]) -> Target:
    """Cut the target out.

    Args:
        supernet: whose target it is.
        config: what an evaluation needs besides: `data`, of which it is left out where those lay, and `task`.

    Raises:
        UserError: layers multiply that may not, or cannot be shown not to.
    """
    if "data_dir" in config.get("data", {}):
        config = config | {"data": config["data"] | {"data_dir": None}}
    target = extract_target(supernet, config)
    refuse_multiplications(target)
    return target


@torch.no_grad()
def prove_before_training(supernet: Supernet) -> None:
    """Try the proof on fresh weights, before anything is read or trained; the supernet stays as it was.

    A trained scale that starts at a power of two would pass now and fail after training: all trained tensors but
    weights are moved off such values first.

    Raises:
        UserError: layers multiply that may not, or cannot be shown not to.
    """
    layers = supernet.hybrid_layers().values()
    moved = [getattr(layer, name) for layer in layers for name in layer.parameter_names if name != "weight"]
    before = [parameter.detach().clone() for parameter in moved]
    for parameter in moved:
        parameter.mul_(MOVED)
    try:
        extract_checked(supernet, {})
    finally:
        for parameter, value in zip(moved, before, strict=True):
            parameter.copy_(value)


def refuse_multiplications(target: Target) -> None:
    """Refuse a target whose layers do not keep to what their operators say.

    Raises:
        UserError: naming the first layer that multiplies, and why.
    """
    multiplying = unexpected_multiplications(target)
    if multiplying:
        first, more = next(iter(multiplying)), len(multiplying) - 1
        others = f", and {more} more layers" if more else ""
        operator = target.assignment[first].name
        raise UserError(f"op={operator}: layer {first} multiplies, for {multiplying[first]}{others}")


def refuse_difference(supernet: Supernet, deployed: Net, plan: Plan) -> float:
    """Return the largest difference between the outputs of supernet and deployed net, which is 0.

    Raises:
        AssertionError: it is not.
    """
    images = torch.randn(EXACTNESS_IMAGES, plan.in_channels, *plan.image_size)
    difference = max_difference(supernet, deployed, images.to(next(supernet.parameters())))  # its device and dtype
    if difference != 0:
        raise AssertionError(f"the extracted target differs from the supernet's target path by {difference}")
    return difference
