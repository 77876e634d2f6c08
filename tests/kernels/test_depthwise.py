"""Depthwise convolution by multiplication on the native core, against F.conv2d and its gradients in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.kernels.depthwise import depthwise_conv2d, native
from shiftaddaug.kernels.layout import memory_format_of
from shiftaddaug.kernels.native import Library, library
from tests.kernels.cases import FLOAT32_TOLERANCE, WRONG_GRADIENTS, Case, assert_near, in_turn, laid_out, tensors
from tests.kernels.needs import needs_core

ALL_CASES = {
    "3x3": Case((3, 5, 6, 7), (5, 1, 3, 3), padding=1, groups=5),
    "5x5, stride 2": Case((2, 35, 9, 8), (35, 1, 5, 5), stride=2, padding=2, groups=35),
    "dilated, oblong": Case((2, 4, 9, 7), (4, 1, 3, 2), stride=(1, 2), padding=(2, 1), dilation=2, groups=4),
    "unpadded, whole vectors": Case((20, 32, 5, 5), (32, 1, 3, 3), groups=32),
    "vectors and a rest": Case((3, 37, 6, 11), (37, 1, 3, 3), padding=1, groups=37),
    "1x1": Case((3, 21, 4, 5), (21, 1, 1, 1), groups=21),
    "1x1, stride 3": Case((3, 8, 7, 5), (8, 1, 1, 1), stride=3, groups=8),
    "stride beyond the kernel": Case((2, 9, 11, 10), (9, 1, 2, 2), stride=(4, 3), padding=(0, 1), groups=9),
    "padding beyond the kernel": Case((2, 8, 3, 3), (8, 1, 2, 2), stride=2, padding=4, groups=8),
    "7x7": Case((1, 16, 8, 9), (16, 1, 7, 7), padding=3, groups=16),
    "large images": Case((1, 72, 32, 31), (72, 1, 2, 2), padding=1, groups=72),
    "one channel": Case((2, 1, 6, 5), (1, 1, 3, 3), padding=1, groups=1),
}


def reference(g: Tensor, x: Tensor, w: Tensor, case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and gradients of input and weight, by torch in float64."""
    inputs = (x.double().contiguous().requires_grad_(), w.double().contiguous().requires_grad_())
    y = F.conv2d(*inputs, None, *case.arguments)
    return (y.detach(), *torch.autograd.grad(y, inputs, g.double()))


def results(core: Library, g: Tensor, x: Tensor, w: Tensor, case: Case) -> tuple[Tensor, Tensor, Tensor]:
    return (
        native.conv2d(x, w, *case.arguments[:3], core=core),
        native.input_grad(g, x, w, *case.arguments[:3], core=core),
        native.weight_grad(g, x, w, *case.arguments[:3], core=core),
    )


@in_turn(ALL_CASES, "vectors and a rest")
@pytest.mark.usefixtures("poisoned_memory")
def test_equals_torch_s_convolution(core: Library, case: Case, layout: str) -> None:
    """Every result is written completely: what torch has allocated is nan before."""
    g, x, w = (laid_out(t, layout) for t in tensors(case))
    actual = results(core, g, x, w, case)
    for one, other in zip(actual, reference(g, x, w, case), strict=True):
        assert_near(one, other, FLOAT32_TOLERANCE)
    assert all(one.is_contiguous(memory_format=memory_format_of(x)) for one in actual[:2])


def test_sums_over_131072_positions_stay_accurate(core: Library) -> None:
    case = Case((2, 3, 256, 256), (3, 1, 3, 3), padding=1, groups=3)
    g, x, w = tensors(case)
    for one, other in zip(results(core, g, x, w, case), reference(g, x, w, case), strict=True):
        assert_near(one, other, FLOAT32_TOLERANCE)


@pytest.mark.usefixtures("one_thread_afterwards")
def test_threads_and_batches_change_nothing(core: Library) -> None:
    case = Case((5, 70, 20, 20), (70, 1, 3, 3), padding=1, groups=70)
    g, x, w = (laid_out(t, "channels_last") for t in tensors(case))
    y, dx, dw = results(core, g, x, w, case)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip((y, dx, dw), results(core, g, x, w, case), strict=True))
    part_y, part_dx, _ = results(core, g[1:3], x[1:3], w, case)
    assert torch.equal(part_y, y[1:3]) and torch.equal(part_dx, dx[1:3])


def test_an_empty_batch(core: Library) -> None:
    case = ALL_CASES["3x3"]
    g, x, w = tensors(case)
    y, dx, dw = results(core, g[:0], x[:0], w, case)
    assert (y.shape, dx.shape) == (g[:0].shape, x[:0].shape)
    assert torch.equal(dw, torch.zeros_like(w))


@needs_core
@pytest.mark.parametrize("name", ["dilated, oblong", "5x5, stride 2"])
def test_autograd_publishes_these_gradients(name: str) -> None:
    case = ALL_CASES[name]
    g, x, w = tensors(case)
    inputs = (x.clone().requires_grad_(), w.clone().requires_grad_())
    y = depthwise_conv2d(*inputs, *case.arguments[:3])
    gradients = torch.autograd.grad(y, inputs, g)
    core = library()
    assert core is not None
    for one, other in zip((y, *gradients), results(core, g, x, w, case), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("differentiable", [False, True])
@needs_core
def test_refuses_what_makes_no_convolution(differentiable: bool) -> None:
    """By the geometry that all convolutions ask: test_geometry.py has all mistakes."""
    for changes, message in (
        ({"stride": 0}, "stride=0: must be at least 1"),
        ({"w": torch.zeros(4, 2, 3, 3)}, "does not fit"),
        ({"w": torch.zeros(4, 1, 0, 3)}, "no elements"),
    ):
        x = torch.zeros(2, 4, 6, 6, requires_grad=differentiable)
        with pytest.raises(ValueError, match=message):
            depthwise_conv2d(**{"x": x, "w": torch.zeros(4, 1, 3, 3), **changes})


@pytest.mark.parametrize("gradient", WRONG_GRADIENTS)
def test_refuses_a_gradient_unlike_the_output(core: Library, gradient: Tensor) -> None:
    x, w = torch.zeros(2, 3, 6, 6), torch.zeros(3, 1, 3, 3)
    with pytest.raises(ValueError, match="output"):
        native.input_grad(gradient, x, w, core=core)
    with pytest.raises(ValueError, match="output"):
        native.weight_grad(gradient, x, w, core=core)


@pytest.mark.parametrize(
    ("channels", "filters", "dtype"), [(3, 3, torch.float64), (3, 6, torch.float32), (3, 3, torch.bfloat16)]
)
def test_other_convolutions_are_torch_s(channels: int, filters: int, dtype: torch.dtype) -> None:
    x, w = torch.randn(2, channels, 5, 5).to(dtype), torch.randn(filters, 1, 3, 3).to(dtype)
    assert torch.equal(depthwise_conv2d(x, w, 2, 1), F.conv2d(x, w, None, 2, 1, 1, channels))


def test_autocast_is_torch_s() -> None:
    _, x, w = tensors(ALL_CASES["3x3"])
    with torch.autocast("cpu", torch.bfloat16):
        y = depthwise_conv2d(x, w, padding=1)
        assert torch.equal(y, F.conv2d(x, w, None, 1, 1, 1, 5))
    assert y.dtype == torch.bfloat16
