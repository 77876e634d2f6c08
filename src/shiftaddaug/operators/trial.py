"""A trial of an operator before anything is trained: slips of its author are answered in one line."""

import traceback

import torch
from torch import Tensor

from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.operators.base import Operator

SHAPES = ((4, 3, 3, 3), (6, 1, 3, 3), (5, 7))
"""Shapes of weights: a dense and a depthwise convolution, a linear layer."""


def try_operator(operator: Operator) -> None:
    """Draw, read and compute once with an operator, on small tensors; torch's random state stays as it was.

    Raises:
        UserError: what the operator says of its tensors does not fit what it makes and reads.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            for shape in SHAPES:
                _try_shape(operator, shape)
        except UserError:
            raise
        except (*DAMAGE, OSError) as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise UserError(f"op={operator.name}: {reason} ({at.filename}:{at.lineno}, {at.name})") from error


def _try_shape(operator: Operator, shape: tuple[int, ...]) -> None:
    parameters, buffers = operator.init_parameters(shape), operator.init_buffers(shape)
    made = {name: tuple(value.shape) for name, value in parameters.items()}
    stated = operator.parameter_shapes(shape)
    if made != stated:
        raise _slip(operator, f"init_parameters makes {made}, parameter_shapes says {stated}")
    if operator.shareable != ("weight" in stated) or stated.get("weight", shape) != shape:
        raise _slip(operator, f"shareable={operator.shareable}, and its trained tensors are {stated}")
    tensors: dict[str, Tensor] = {**parameters, **buffers}
    for role in ("input_tensors", "channel_tensors", "lasting_tensors"):
        for name in getattr(operator, role):
            if name not in tensors or name == "weight":
                raise _slip(operator, f"{role} names {name}; options: {', '.join(sorted({*tensors} - {'weight'}))}")
    for name in operator.channel_tensors:
        if tensors[name].dim() == 0 or tensors[name].shape[0] != shape[0]:
            raise _slip(operator, f"channel_tensors names {name}, of shape {tuple(tensors[name].shape)}")
    operator.between_epochs(tensors, 1)
    weight = operator.effective_weight(tensors)
    if tuple(weight.shape) != shape:
        raise _slip(operator, f"effective_weight returns {tuple(weight.shape)} for a weight of {shape}")
    _try_input(operator, weight, {name: tensors[name] for name in operator.input_tensors})
    for name, parameter in parameters.items():
        direction = operator.rescale_gradient(name, parameter, torch.ones_like(parameter))
        if direction.shape != parameter.shape:
            raise _slip(operator, f"rescale_gradient returns {tuple(direction.shape)} for {name} {made[name]}")


def _try_input(operator: Operator, weight: Tensor, tensors: dict[str, Tensor]) -> None:
    wanted: tuple[int, ...]
    if weight.dim() == 2:
        x, wanted = torch.randn(2, weight.shape[1]), (2, weight.shape[0])
    else:
        groups = weight.shape[0] if weight.shape[1] == 1 else 1
        x, wanted = torch.randn(2, weight.shape[1] * groups, 5, 4), (2, weight.shape[0], 3, 2)
    prepared = operator.prepare_input(x, tensors)
    if prepared.shape != x.shape:
        raise _slip(operator, f"prepare_input returns {tuple(prepared.shape)} for {tuple(x.shape)}")
    linear = weight.dim() == 2
    y = operator.linear(prepared, weight) if linear else operator.conv2d(prepared, weight, 1, 0, 1, groups)
    if tuple(y.shape) != wanted:
        raise _slip(operator, f"computes {tuple(y.shape)} of {tuple(x.shape)} and a weight of {tuple(weight.shape)}")


def _slip(operator: Operator, what: str) -> UserError:
    return UserError(f"op={operator.name}: {what}")
