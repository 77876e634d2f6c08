"""Weights whose strides torch misreads: gradients are those of plain ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.kernels.add import naive, native, rules
from shiftaddaug.kernels.layout import plain_weight
from tests.kernels.cases import FLOAT32_TOLERANCE, Case, Reference, assert_near, tensors
from tests.kernels.needs import needs_core

CASES = {
    "grouped 1x1, one image": Case((1, 12, 5, 6), (8, 3, 1, 1), groups=4),
    "grouped 1x1, padded": Case((1, 6, 4, 1), (3, 2, 1, 1), padding=1, groups=3),
    "one filter": Case((1, 3, 5, 4), (1, 3, 3, 3)),
}
parametrize_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def odd(t: Tensor) -> Tensor:
    """A copy in channels_last; the stride of a first dimension of size 1, which means nothing, is 7."""
    t = t.clone(memory_format=torch.channels_last)
    return t.as_strided(t.shape, (7, *t.stride()[1:])) if t.shape[0] == 1 else t


def convolution_gradients(g: Tensor, x: Tensor, w: Tensor, case: Case) -> tuple[Tensor, ...]:
    inputs = (x.detach().requires_grad_(), w.detach().requires_grad_())
    return torch.autograd.grad(operators.build("mult").conv2d(*inputs, *case.arguments), inputs, g)


@parametrize_cases
def test_a_plain_weight_has_the_strides_of_its_sizes(case: Case) -> None:
    w = torch.randn(case.w)
    for t in (w, odd(w), odd(w)[:, :1], odd(w).transpose(0, 1)):
        assert torch.equal(plain_weight(t), t)
        assert plain_weight(t).stride() == torch.empty(t.shape).stride()
    assert plain_weight(w).data_ptr() == w.data_ptr()


@parametrize_cases
def test_a_convolution_s_gradients_are_those_of_float64(case: Case) -> None:
    g, x, w = (odd(t) for t in tensors(case))
    expected = convolution_gradients(
        *(t.double().clone(memory_format=torch.contiguous_format) for t in (g, x, w)), case
    )
    for one, other in zip(convolution_gradients(g, x, w, case), expected, strict=True):
        assert_near(one, other, FLOAT32_TOLERANCE)


@parametrize_cases
@pytest.mark.parametrize(
    "weight_grad",
    [
        pytest.param(naive.add_conv2d_weight_grad, id="naive"),
        pytest.param(native.add_conv2d_weight_grad, id="native", marks=needs_core),
    ],
)
def test_an_add_convolution_s_gradients_are_the_formulas(case: Case, weight_grad: Callable[..., Tensor]) -> None:
    g, x, w = (odd(t) for t in tensors(case))
    reference = Reference(x, w, case)
    assert_near(weight_grad(g, x, w, *case.arguments), reference.weight_grad(g), FLOAT32_TOLERANCE)
    full = rules.input_grad(naive, "full", g, x, w, *case.arguments, 1.0)
    assert_near(full, reference.input_grad(g, "full"), FLOAT32_TOLERANCE)
