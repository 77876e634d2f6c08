"""Every operator in every precision, outputs and gradients against itself in float64 on the same values."""

import math
from itertools import product

import pytest
import torch
from tests.build import OPS, read_yaml
from tests.operators.adder_study import STUDY
from tests.precisions import PRECISIONS, ROUNDINGS, Precision
from torch import Tensor, nn

from shiftaddaug.operators import from_config
from shiftaddaug.operators.base import Operator

GRADIENTS = [
    {"name": "add", "weight_gradient": of_weight, "input_gradient": of_input}
    for of_weight, of_input in product(STUDY["weight_gradient"], STUDY["input_gradient"])
]
SHAPES = {
    # input, weight, groups
    "dense": ((4, 24, 7, 6), (10, 24, 3, 3), 1),
    "1x1": ((4, 24, 7, 6), (10, 24, 1, 1), 1),
    "depthwise": ((4, 24, 7, 6), (24, 1, 5, 5), 24),
    "linear": ((6, 24), (10, 24), 1),
}


@pytest.fixture(
    params=[*(read_yaml("op", op) for op in OPS), *GRADIENTS],
    ids=[*OPS, *("-".join(config.values()) for config in GRADIENTS)],
)
def operator(request: pytest.FixtureRequest) -> Operator:
    torch.manual_seed(0)
    return from_config(request.param)


def computed(
    operator: Operator, x: Tensor, parameters: dict[str, Tensor], shape: tuple[int, ...], groups: int, direction: Tensor
) -> list[Tensor | None]:
    """Output, and the gradients of <output, direction> with respect to input and parameters."""
    layer = {name: nn.Parameter(value) for name, value in parameters.items()}  # in this order
    x = x.clone().requires_grad_()
    buffers = {name: buffer.to(x.dtype) for name, buffer in operator.init_buffers(shape).items()}
    weight = operator.effective_weight({**layer, **buffers})
    y = operator.linear(x, weight) if x.dim() == 2 else operator.conv2d(x, weight, 1, weight.shape[-1] // 2, 1, groups)
    y.backward(direction.to(y.dtype))
    return [y.detach(), x.grad, *(parameter.grad for parameter in layer.values())]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_outputs_and_gradients_are_those_of_float64(operator: Operator, precision: str) -> None:
    for shape in SHAPES:
        assert_near_float64(operator, shape, PRECISIONS[precision])


def assert_near_float64(operator: Operator, shape: str, given: Precision) -> None:
    x_shape, w_shape, groups = SHAPES[shape]
    x = torch.randn(x_shape).to(given.dtype)
    parameters = {name: value.to(given.dtype) for name, value in operator.init_parameters(w_shape).items()}
    direction = torch.randn(x_shape[0], w_shape[0], *x_shape[2:]).to(given.cast or given.dtype)
    doubles = {name: value.double() for name, value in parameters.items()}
    wanted = computed(operator, x.double(), doubles, w_shape, groups, direction.double())
    with given.autocast():
        results = computed(operator, x, parameters, w_shape, groups, direction)
    for name, result, reference in zip(("output", "input", *parameters), results, wanted, strict=True):
        assert result is not None and reference is not None, (shape, name)
        # the gradient of a tensor that many weights share is a sum over those
        summed = math.prod(w_shape) / result.numel() if name in parameters else 1.0
        assert given.error(result, reference) < ROUNDINGS * math.sqrt(max(1.0, summed)), (shape, name)
        assert result.dtype == given.dtype or name == "output", shape
