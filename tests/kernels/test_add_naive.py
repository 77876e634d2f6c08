"""The plain add convolution against float64 references written from the published formulas."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftaddaug.kernels.add import blocks, naive
from tests.kernels.cases import (
    CASES,
    FLOAT32_TOLERANCE,
    FLOAT64_TOLERANCE,
    HALF_TOLERANCE,
    Case,
    assert_all_near,
    assert_mistakes_are_refused,
    assert_power_of_two_is_exact,
    laid_out,
    parametrize_cases,
    parametrize_few,
    tensors,
)


@parametrize_cases
def test_equals_the_formulas(case: Case, layout: str) -> None:
    for dtype, tolerance in ((torch.float32, FLOAT32_TOLERANCE), (torch.float64, FLOAT64_TOLERANCE)):
        g, x, w = (laid_out(t, layout) for t in tensors(case, dtype))
        assert_all_near(naive, g, x, w, case, tolerance, scale=0.3)


@parametrize_few
def test_a_power_of_two_as_scale_is_exact(case: Case) -> None:
    assert_power_of_two_is_exact(naive, *tensors(case), case)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_blocks_of_any_size_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one output row, so that images and rows are cut everywhere, and of several."""
    for elements in (1, 400):
        monkeypatch.setattr(blocks, "CPU_BUFFER_ELEMENTS", (elements, elements))
        assert_all_near(naive, *tensors(case), case, FLOAT32_TOLERANCE)


@parametrize_few
@pytest.mark.parametrize("dtype", HALF_TOLERANCE)
def test_half_precision_is_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    assert_all_near(naive, *tensors(case, dtype), case, HALF_TOLERANCE[dtype])


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


def test_mistakes_are_refused() -> None:
    assert_mistakes_are_refused(naive)


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


@pytest.mark.parametrize("name", ["oblong", "padding beyond the kernel", "linear"])
def test_filters_and_input_channels_may_be_permuted(name: str) -> None:
    case = CASES[name]
    _, x, w = tensors(case, torch.float64)
    y = naive.add_conv2d(x, w, *case.arguments)
    filters, channels = torch.randperm(w.shape[0]), torch.randperm(w.shape[1])
    permuted = naive.add_conv2d(x[:, channels], w[filters][:, channels], *case.arguments)
    torch.testing.assert_close(permuted, y[:, filters])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@parametrize_cases
def test_cuda_equals_the_formulas(case: Case, layout: str) -> None:
    g, x, w = (laid_out(t, layout).cuda() for t in tensors(case))
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert_all_near(naive, g, x, w, case, FLOAT32_TOLERANCE)
