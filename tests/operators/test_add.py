"""add: the formula with its scale, the rescaled gradient, autocast."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.operators.adder_study import STUDY
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.kernels import add as kernels
from shiftaddaug.operators import build
from shiftaddaug.operators.add.operator import Add
from shiftaddaug.operators.add.settings import AddSettings

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


COMBINATIONS = [dict(zip(STUDY, values, strict=True)) for values in product(*STUDY.values())]
parametrize_study = pytest.mark.parametrize("study", COMBINATIONS, ids=lambda study: "-".join(study.values()))
RULES = {"clipped": F.hardtanh, "full": lambda difference: difference, "sign": torch.sign}


@parametrize_study
@pytest.mark.parametrize(
    ("shape", "groups", "geometry"),
    [((5, 3, 3, 2), 1, (2, 1, 1)), ((4, 3, 3, 3), 2, (1, 2, 2)), ((6, 1, 5, 3), 6, (1, 2, 1)), ((7, 11), 1, (1, 0, 1))],
    ids=["dense", "grouped", "depthwise", "linear"],
)
def test_gradients_and_rate_of_the_study(
    study: dict, shape: tuple[int, ...], groups: int, geometry: tuple[int, int, int]
) -> None:
    operator = build("add", eta=0.3, **study)
    x, w = torch.randn(3, shape[1] * groups, *[7, 9][: len(shape) - 2]), torch.randn(shape) * 1.5
    x, w = x.requires_grad_(), w.requires_grad_()
    y = operator.linear(x, w) if len(shape) == 2 else operator.conv2d(x, w, *geometry, groups)
    g = torch.randn_like(y)
    y.backward(g)
    stride, padding, dilation = geometry
    images, filters = (t.detach().double().reshape(*t.shape, *[1] * (4 - t.dim())) for t in (x, w))
    unfolding = {"kernel_size": filters.shape[2:], "dilation": dilation, "padding": padding, "stride": stride}
    columns = F.unfold(images, **unfolding).reshape(3, groups, 1, filters[0].numel(), -1)
    difference = columns - filters.reshape(1, groups, -1, filters[0].numel(), 1)
    spread = g.double().reshape(3, groups, -1, 1, columns.shape[4]) * 2.0 ** operator.output_exponent(w[0].numel())
    dw = (RULES[study["weight_gradient"]](difference) * spread).sum((0, 4)).reshape(shape)
    dx = (RULES[study["input_gradient"]](-difference) * spread).sum(2).flatten(1, 2)
    assert_near(w.grad, dw)
    assert_near(x.grad, F.fold(dx, images.shape[2:], **unfolding).reshape(x.shape))
    step = dw if study["rate"] == "uniform" else 0.3 * math.sqrt(dw.numel()) * dw / dw.norm()
    assert_near(operator.rescale_gradient("weight", w.detach(), w.grad), step)


def test_a_uniform_rate_gives_the_gradient_itself() -> None:
    g = torch.randn(7, 3, 3)
    assert Add(rate="uniform").rescale_gradient("weight", torch.ones(7, 3, 3), g) is g


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_published_choices_are_the_defaults_bit_for_bit(dtype: torch.dtype) -> None:
    published = Add(weight_gradient="full", input_gradient="clipped", rate="adaptive")
    assert Add() == published
    x, w = torch.randn(2, 3, 7, 6, dtype=dtype), torch.randn(4, 3, 3, 3, dtype=dtype)
    found = [torch.autograd.grad(op.conv2d(x, w.requires_grad_()).sum(), w)[0] for op in (Add(), published)]
    assert torch.equal(*found)
    arguments = (torch.full((2, 4, 5, 4), 2.0**-2, dtype=dtype), x, w)
    assert torch.equal(found[0], kernels.implementation(x).add_conv2d_weight_grad(*arguments))


def test_settings_and_kernels_name_the_same_rules() -> None:
    assert STUDY["weight_gradient"] == kernels.rules.WEIGHT_GRADIENTS
    assert STUDY["input_gradient"] == kernels.rules.INPUT_GRADIENTS
    assert all(options[0] == getattr(AddSettings(), key) for key, options in STUDY.items())


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
        ({"eta": 0}, r"^op\.eta=0: must be a number >= 1e-06 and <= 1000000$"),
        ({"eta": "fast"}, r"op\.eta=fast"),
        ({"eta": float("inf")}, r"op\.eta=inf"),
        ({"eta": float("nan")}, r"op\.eta=nan"),
        ({"init_std": -1.0}, r"^op\.init_std=-1\.0: must be a number >= 1e-06 and <= 1000000$"),
        ({"weight_gradient": "clipped"}, r"^op\.weight_gradient=clipped: no such option; options: full, sign$"),
        ({"input_gradient": None}, r"^op\.input_gradient=null: no such option; options: clipped, full, sign$"),
        ({"rate": "fast"}, r"^op\.rate=fast: no such option; options: adaptive, uniform$"),
        ({"rate": ["uniform"]}, r"op\.rate=\[uniform\]: no such option"),
        ({"output_scale": "yes"}, r"^op\.output_scale=yes: must be true or false$"),
    ],
)
def test_refuses_bad_fields(fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("add", **fields)
