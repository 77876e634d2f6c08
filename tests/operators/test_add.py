"""add: the formula with its scale, the rescaled gradient, autocast."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.operators import build
from shiftaddaug.operators.add.operator import Add

TOLERANCE = 3e-6
"""Of the largest magnitude, float32 against float64."""


def reference_conv2d(x: Tensor, w: Tensor, stride: int, padding: int, dilation: int, groups: int) -> Tensor:
    """-sum |X - W| in float64, without a scale."""
    x, w = x.double(), w.double()
    shape = F.conv2d(x, w, None, stride, padding, dilation, groups).shape
    columns = F.unfold(x, w.shape[2:], dilation, padding, stride)
    columns = columns.reshape(x.shape[0], groups, 1, w[0].numel(), -1)
    return -(columns - w.reshape(1, groups, -1, w[0].numel(), 1)).abs().sum(3).reshape(shape)


def assert_near(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual.double() - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.parametrize(("channels", "filters", "groups"), [(6, 4, 1), (6, 4, 2), (6, 6, 6)])
@pytest.mark.parametrize("geometry", [(1, 0, 1), (2, 1, 1), (1, 2, 2)])
def test_conv2d_with_and_without_scale(channels: int, filters: int, groups: int, geometry: tuple) -> None:
    x, w = torch.randn(2, channels, 7, 8), torch.randn(filters, channels // groups, 3, 3) * 8
    expected = reference_conv2d(x, w, *geometry, groups)
    assert_near(Add(output_scale=False).conv2d(x, w, *geometry, groups), expected)
    scale = 2.0 ** -round(math.log2(math.sqrt(channels // groups * 9)))
    assert_near(Add().conv2d(x, w, *geometry, groups), expected * scale)


@pytest.mark.parametrize(
    ("inputs", "exponent"), [(1, 0), (3, -1), (4, -1), (9, -2), (16, -2), (48, -3), (144, -4), (576, -5)]
)
def test_output_scale(inputs: int, exponent: int) -> None:
    assert Add().output_exponent(inputs) == exponent
    assert Add(output_scale=False).output_exponent(inputs) == 0


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)])
def test_linear(shape: tuple[int, ...]) -> None:
    x, w = torch.randn(shape), torch.randn(4, 5)
    expected = -(x.double()[..., None, :] - w.double()).abs().sum(-1) / 2
    actual = Add().linear(x, w)
    assert actual.shape == (*shape[:-1], 4)
    torch.testing.assert_close(actual.double(), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(("x", "w"), [((3, 5), (4, 6)), ((3, 5), (4, 5, 1)), ((), (4, 5)), ((3, 2, 5), (4, 2))])
def test_linear_refuses_what_does_not_fit(x: tuple[int, ...], w: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Add().linear(torch.zeros(x), torch.zeros(w))


def test_published_gradients_reach_the_parameters() -> None:
    x, w = torch.randn(3, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    y = Add(output_scale=False).linear(x, w)
    g = torch.randn_like(y)
    y.backward(g)
    difference = (x[:, None] - w).detach()
    torch.testing.assert_close(w.grad, (g[..., None] * difference).sum(0))
    torch.testing.assert_close(x.grad, (g[..., None] * F.hardtanh(-difference)).sum(1))


def test_scale_takes_part_in_the_gradients() -> None:
    x, w = torch.randn(3, 16, requires_grad=True), torch.randn(4, 16, requires_grad=True)
    scaled = torch.autograd.grad(Add().linear(x, w).sum(), (x, w))
    plain = torch.autograd.grad(Add(output_scale=False).linear(x, w).sum(), (x, w))
    for a, b in zip(scaled, plain, strict=True):
        torch.testing.assert_close(a, b / 4)


@given(st.integers(0, 1000))
def test_outputs_are_never_positive(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(shape, generator=generator) for shape in ((2, 3, 4, 4), (5, 3, 3, 3)))
    assert Add().conv2d(x, w, padding=1).max() <= 0


def test_a_patch_equal_to_its_filter_gives_zero() -> None:
    x = torch.randn(1, 3, 3, 3)
    assert Add().conv2d(x, x.clone()).item() == 0


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e30])
def test_rescaled_gradient(scale: float) -> None:
    g = torch.randn(7, 3, 3)
    copy = g.clone()
    rescaled = Add(eta=0.2).rescale_gradient("weight", g, g * scale)
    torch.testing.assert_close(rescaled, 0.2 * math.sqrt(63) * g / g.norm())
    assert torch.equal(g, copy)
    torch.testing.assert_close(rescaled.square().mean().sqrt().item(), 0.2)


def test_zero_gradient_stays_zero() -> None:
    assert torch.equal(Add().rescale_gradient("weight", torch.ones(3, 4), torch.zeros(3, 4)), torch.zeros(3, 4))


def test_fresh_weights_have_the_standard_deviation_asked_for() -> None:
    weight = Add(init_std=3.0).init_parameters((64, 32, 3, 3))["weight"]
    assert weight.std().item() == pytest.approx(3, rel=0.03)
    assert weight.mean().item() == pytest.approx(0, abs=0.1)


def test_autocast_computes_in_float32() -> None:
    x, w = torch.randn(2, 3, 5, 5).bfloat16(), torch.randn(4, 3, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = Add().conv2d(x, w)
    assert torch.equal(y, Add().conv2d(x.float(), w))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eta": 0}, r"^op\.eta=0: must be a positive number$"),
        ({"eta": "fast"}, r"op\.eta=fast"),
        ({"eta": float("inf")}, r"op\.eta=inf"),
        ({"eta": float("nan")}, r"op\.eta=nan"),
        ({"init_std": -1.0}, r"^op\.init_std=-1\.0: must be a positive number$"),
        ({"output_scale": "yes"}, r"^op\.output_scale=yes: must be true or false$"),
    ],
)
def test_refuses_bad_fields(fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("add", **fields)
