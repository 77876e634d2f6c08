"""The plain add convolution against float64 references written from the published formulas."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shiftaddaug.kernels.add import blocks, naive
from tests.kernels.cases import (
    CASES,
    FLOAT32_TOLERANCE,
    FLOAT64_TOLERANCE,
    HALF_TOLERANCE,
    LAYOUTS,
    WRONG_GRADIENTS,
    Case,
    assert_all_near,
    laid_out,
    mistaken,
    parametrize_cases,
    parametrize_mistakes,
    tensors,
)


@parametrize_cases
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_formulas(case: Case, dtype: torch.dtype) -> None:
    tolerance = FLOAT32_TOLERANCE if dtype == torch.float32 else FLOAT64_TOLERANCE
    assert_all_near(naive, *tensors(case, dtype), case, tolerance)


@parametrize_cases
def test_a_scale_multiplies_outputs_and_gradients(case: Case) -> None:
    """0.25 changes exponents alone, and is exact."""
    g, x, w = tensors(case)
    assert_all_near(naive, g, x, w, case, FLOAT32_TOLERANCE, scale=0.3)
    for function, tensors_of in (
        (naive.add_conv2d, (x, w)),
        (naive.add_conv2d_input_grad, (g, x, w)),
        (naive.add_conv2d_weight_grad, (g, x, w)),
    ):
        unscaled = function(*tensors_of, *case.arguments)
        assert torch.equal(function(*tensors_of, *case.arguments, scale=0.25), unscaled * 0.25)


@parametrize_cases
def test_small_blocks_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one output row, so that images and rows are cut everywhere."""
    monkeypatch.setattr(blocks, "CPU_BUFFER_ELEMENTS", (1, 1))
    assert_all_near(naive, *tensors(case), case, FLOAT32_TOLERANCE)


@parametrize_cases
def test_blocks_of_several_rows(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CPU_BUFFER_ELEMENTS", (400, 400))
    assert_all_near(naive, *tensors(case), case, FLOAT32_TOLERANCE)


@parametrize_cases
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(case: Case, layout: str) -> None:
    g, x, w = (laid_out(t, layout) for t in tensors(case))
    assert_all_near(naive, g, x, w, case, FLOAT32_TOLERANCE)


def test_channels_last_stays_channels_last() -> None:
    case = CASES["3x3"]
    g, x, w = tensors(case)
    x = x.contiguous(memory_format=torch.channels_last)
    assert naive.add_conv2d(x, w, *case.arguments).is_contiguous(memory_format=torch.channels_last)
    assert naive.add_conv2d_input_grad(g, x, w, *case.arguments).is_contiguous(memory_format=torch.channels_last)


@parametrize_cases
@pytest.mark.parametrize("dtype", HALF_TOLERANCE)
def test_half_precision_is_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    g, x, w = tensors(case, dtype)
    assert naive.add_conv2d(x, w, *case.arguments).dtype == dtype
    assert_all_near(naive, g, x, w, case, HALF_TOLERANCE[dtype])


@parametrize_cases
def test_arguments_are_left_alone(case: Case) -> None:
    arguments = tensors(case)
    copies = [t.clone() for t in arguments]
    g, x, w = arguments
    naive.add_conv2d(x, w, *case.arguments)
    naive.add_conv2d_input_grad(g, x, w, *case.arguments)
    naive.add_conv2d_weight_grad(g, x, w, *case.arguments)
    assert all(torch.equal(a, b) for a, b in zip(arguments, copies, strict=True))


def test_padding_contributes_the_weight() -> None:
    y = naive.add_conv2d(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 3, 3), -2.0), padding=1)
    assert y.item() == -18


def test_gradient_borders() -> None:
    """HardTanh clips W - X; the weight's gradient does not."""
    x = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 4.0]).view(1, 6, 1, 1)
    w, g = torch.zeros(1, 6, 1, 1), torch.ones(1, 1, 1, 1)
    assert naive.add_conv2d_input_grad(g, x, w).flatten().tolist() == [1, 1, 0.5, 0, -0.5, -1]
    assert naive.add_conv2d_weight_grad(g, x, w).flatten().tolist() == x.flatten().tolist()


@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_empty_batch(name: str) -> None:
    case = CASES[name]
    g, x, w = tensors(case)
    assert naive.add_conv2d(x[:0], w, *case.arguments).shape == g[:0].shape
    assert naive.add_conv2d_input_grad(g[:0], x[:0], w, *case.arguments).shape == x[:0].shape
    assert torch.equal(naive.add_conv2d_weight_grad(g[:0], x[:0], w, *case.arguments), torch.zeros_like(w))


@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_nan_stays_visible(name: str) -> None:
    case = CASES[name]
    g, x, w = tensors(case)
    x[0, 0, 0, 0] = float("nan")
    assert naive.add_conv2d(x, w, *case.arguments)[0].isnan().any()
    assert naive.add_conv2d_input_grad(g, x, w, *case.arguments)[0, 0, 0, 0].isnan()


@parametrize_mistakes
def test_refuses_what_makes_no_convolution(changes: dict, message: str) -> None:
    arguments = mistaken(changes)
    with pytest.raises(ValueError, match=message):
        naive.add_conv2d(**arguments)
    with pytest.raises(ValueError, match=message):
        naive.add_conv2d_input_grad(torch.zeros(2, 3, 4, 4), **arguments)
    with pytest.raises(ValueError, match=message):
        naive.add_conv2d_weight_grad(torch.zeros(2, 3, 4, 4), **arguments)


@pytest.mark.parametrize("gradient", WRONG_GRADIENTS)
def test_refuses_a_gradient_unlike_the_output(gradient: Tensor) -> None:
    x, w = torch.zeros(2, 4, 6, 6), torch.zeros(3, 4, 3, 3)
    with pytest.raises(ValueError, match="output"):
        naive.add_conv2d_input_grad(gradient, x, w)
    with pytest.raises(ValueError, match="output"):
        naive.add_conv2d_weight_grad(gradient, x, w)


sizes = st.integers(1, 4)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_geometries(data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, 3))
    channels, filters = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    kernel, stride, padding, dilation = ((data.draw(sizes), data.draw(sizes)) for _ in range(4))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(1, s - 2 * p) + data.draw(st.integers(0, 3)) for s, p in zip(spans, padding, strict=True)]
    case = Case(
        (data.draw(sizes), channels * groups, *size),
        (filters * groups, channels, *kernel),
        stride,
        padding,
        dilation,
        groups,
    )
    g, x, w = tensors(case, torch.float64, seed=data.draw(st.integers(0, 100)))
    assert_all_near(naive, g, x, w, case, FLOAT64_TOLERANCE)
    assert naive.add_conv2d(x, w, *case.arguments).max() <= 0


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.groups == 1])
def test_filters_and_input_channels_may_be_permuted(name: str) -> None:
    case = CASES[name]
    _, x, w = tensors(case, torch.float64)
    y = naive.add_conv2d(x, w, *case.arguments)
    filters, channels = torch.randperm(w.shape[0]), torch.randperm(w.shape[1])
    permuted = naive.add_conv2d(x[:, channels], w[filters][:, channels], *case.arguments)
    torch.testing.assert_close(permuted, y[:, filters])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@parametrize_cases
def test_cuda_equals_the_formulas(case: Case) -> None:
    g, x, w = (t.cuda() for t in tensors(case))
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert_all_near(naive, g, x, w, case, FLOAT32_TOLERANCE)
