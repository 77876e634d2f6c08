"""The plain add convolution against float64 references written from the published formulas."""

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shiftaddaug.kernels.add import add_conv2d, add_conv2d_input_grad, add_conv2d_weight_grad, blocks, naive

FLOAT32_TOLERANCE = 3e-6
"""Largest error over the reference's largest magnitude; sums of at most some hundred terms are computed here."""
FLOAT64_TOLERANCE = 1e-13
HALF_TOLERANCE = {torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""One rounding of the result."""


class Case(NamedTuple):
    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1

    @property
    def arguments(self) -> tuple:
        return self[2:]


CASES = {
    "1x1": Case((3, 5, 4, 7), (6, 5, 1, 1)),
    "1x1, stride 2": Case((2, 5, 5, 7), (6, 5, 1, 1), stride=2),
    "1x1, padded": Case((2, 3, 3, 4), (2, 3, 1, 1), padding=1),
    "3x3": Case((2, 3, 7, 5), (4, 3, 3, 3), padding=1),
    "3x3, stride 2": Case((2, 3, 8, 7), (4, 3, 3, 3), stride=2, padding=1),
    "oblong": Case((2, 3, 9, 6), (5, 3, 2, 3), stride=(2, 1), padding=(0, 2), dilation=(3, 1)),
    "padding beyond the kernel": Case((2, 2, 3, 3), (3, 2, 2, 2), stride=2, padding=4),
    "dilated": Case((1, 4, 11, 9), (3, 4, 3, 3), padding=2, dilation=2),
    "batch 1": Case((1, 3, 5, 5), (2, 3, 3, 3)),
    "one channel": Case((2, 1, 5, 5), (3, 1, 3, 3), padding=1),
    "grouped": Case((2, 6, 5, 6), (9, 2, 3, 3), padding=1, groups=3),
    "grouped, 1x1, stride 2": Case((2, 6, 5, 6), (4, 3, 1, 1), stride=2, groups=2),
    "depthwise": Case((3, 5, 6, 7), (5, 1, 3, 3), padding=1, groups=5),
    "depthwise, stride 2": Case((2, 5, 7, 8), (5, 1, 5, 5), stride=2, padding=2, groups=5),
    "depthwise, dilated, oblong": Case((2, 4, 9, 7), (4, 1, 3, 2), stride=(1, 2), padding=(2, 1), dilation=2, groups=4),
    "depthwise, two filters per channel": Case((2, 3, 5, 5), (6, 1, 3, 3), padding=1, groups=3),
    "linear": Case((7, 9, 1, 1), (4, 9, 1, 1)),
}
parametrize_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def tensors(case: Case, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Output gradient, input and weight, with differences on both sides of HardTanh's borders."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(case.x, generator=generator).to(dtype)
    w = torch.randn(case.w, generator=generator).mul(2).to(dtype)
    shape = F.conv2d(x.double(), w.double(), None, *case.arguments).shape
    return torch.randn(shape, generator=generator).to(dtype), x, w


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


class Reference:
    """Differences X - W of every filter, input of a patch and position, all at once, in float64."""

    def __init__(self, x: Tensor, w: Tensor, case: Case) -> None:
        self.unfolding = {
            "kernel_size": tuple(w.shape[2:]),
            "stride": pair(case.stride),
            "padding": pair(case.padding),
            "dilation": pair(case.dilation),
        }
        self.x, self.w, self.groups = x.double(), w.double(), case.groups
        columns = F.unfold(self.x, **self.unfolding)  # padding enters as zeros
        columns = columns.reshape(x.shape[0], case.groups, 1, w[0].numel(), -1)
        self.difference = columns - self.w.reshape(1, case.groups, -1, w[0].numel(), 1)  # (N, G, F/G, K, P)

    def forward(self, shape: torch.Size) -> Tensor:
        return -self.difference.abs().sum(3).reshape(shape)

    def input_grad(self, grad_y: Tensor) -> Tensor:
        columns = (F.hardtanh(-self.difference) * self._spread(grad_y)).sum(2)
        return F.fold(columns.flatten(1, 2), tuple(self.x.shape[2:]), **self.unfolding)

    def weight_grad(self, grad_y: Tensor) -> Tensor:
        return (self.difference * self._spread(grad_y)).sum((0, 4)).reshape(self.w.shape)

    def _spread(self, grad_y: Tensor) -> Tensor:
        return grad_y.double().reshape(grad_y.shape[0], self.groups, -1, 1, self.difference.shape[4])


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    error, largest = (actual.double() - expected).abs().max(), expected.abs().max()
    assert error <= tolerance * largest, f"error {error:.1e}, largest magnitude {largest:.1e}"


def assert_all_near(g: Tensor, x: Tensor, w: Tensor, case: Case, tolerance: float) -> None:
    reference = Reference(x, w, case)
    assert_near(naive.add_conv2d(x, w, *case.arguments), reference.forward(g.shape), tolerance)
    assert_near(add_conv2d_input_grad(g, x, w, *case.arguments), reference.input_grad(g), tolerance)
    assert_near(add_conv2d_weight_grad(g, x, w, *case.arguments), reference.weight_grad(g), tolerance)


@parametrize_cases
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_formulas(case: Case, dtype: torch.dtype) -> None:
    tolerance = FLOAT32_TOLERANCE if dtype == torch.float32 else FLOAT64_TOLERANCE
    assert_all_near(*tensors(case, dtype), case, tolerance)


@parametrize_cases
def test_small_blocks_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one output row, so that images and rows are cut everywhere."""
    monkeypatch.setattr(blocks, "CPU_BUFFER_ELEMENTS", (1, 1))
    assert_all_near(*tensors(case), case, FLOAT32_TOLERANCE)


@parametrize_cases
def test_blocks_of_several_rows(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CPU_BUFFER_ELEMENTS", (400, 400))
    assert_all_near(*tensors(case), case, FLOAT32_TOLERANCE)


@parametrize_cases
def test_autograd_publishes_these_gradients(case: Case) -> None:
    g, x, w = tensors(case)
    x.requires_grad_()
    w.requires_grad_()
    y = add_conv2d(x, w, *case.arguments)
    y.backward(g)
    assert torch.equal(y, naive.add_conv2d(x, w, *case.arguments))
    assert torch.equal(x.grad, naive.add_conv2d_input_grad(g, x, w, *case.arguments))
    assert torch.equal(w.grad, naive.add_conv2d_weight_grad(g, x, w, *case.arguments))


@parametrize_cases
@pytest.mark.parametrize("layout", ["channels_last", "transposed", "expanded"])
def test_any_layout(case: Case, layout: str) -> None:
    def laid_out(tensor: Tensor) -> Tensor:
        if layout == "channels_last":
            return tensor.contiguous(memory_format=torch.channels_last)
        if layout == "transposed":
            return tensor.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
        return tensor[:1].expand(tensor.shape)

    g, x, w = (laid_out(t) for t in tensors(case))
    assert_all_near(g, x, w, case, FLOAT32_TOLERANCE)


def test_channels_last_stays_channels_last() -> None:
    case = CASES["3x3"]
    g, x, w = tensors(case)
    x = x.contiguous(memory_format=torch.channels_last)
    assert add_conv2d(x, w, *case.arguments).is_contiguous(memory_format=torch.channels_last)
    assert add_conv2d_input_grad(g, x, w, *case.arguments).is_contiguous(memory_format=torch.channels_last)


@parametrize_cases
@pytest.mark.parametrize("dtype", HALF_TOLERANCE)
def test_half_precision_is_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    g, x, w = tensors(case, dtype)
    assert naive.add_conv2d(x, w, *case.arguments).dtype == dtype
    assert_all_near(g, x, w, case, HALF_TOLERANCE[dtype])


@parametrize_cases
def test_arguments_are_left_alone(case: Case) -> None:
    arguments = tensors(case)
    copies = [t.clone() for t in arguments]
    g, x, w = arguments
    naive.add_conv2d(x, w, *case.arguments)
    add_conv2d_input_grad(g, x, w, *case.arguments)
    add_conv2d_weight_grad(g, x, w, *case.arguments)
    assert all(torch.equal(a, b) for a, b in zip(arguments, copies, strict=True))


def test_padding_contributes_the_weight() -> None:
    y = add_conv2d(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 3, 3), -2.0), padding=1)
    assert y.item() == -18


def test_gradient_borders() -> None:
    """HardTanh clips W - X; the weight's gradient does not."""
    x = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 4.0]).view(1, 6, 1, 1)
    w, g = torch.zeros(1, 6, 1, 1), torch.ones(1, 1, 1, 1)
    assert add_conv2d_input_grad(g, x, w).flatten().tolist() == [1, 1, 0.5, 0, -0.5, -1]
    assert add_conv2d_weight_grad(g, x, w).flatten().tolist() == x.flatten().tolist()


@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_empty_batch(name: str) -> None:
    case = CASES[name]
    g, x, w = tensors(case)
    assert naive.add_conv2d(x[:0], w, *case.arguments).shape == g[:0].shape
    assert add_conv2d_input_grad(g[:0], x[:0], w, *case.arguments).shape == x[:0].shape
    assert torch.equal(add_conv2d_weight_grad(g[:0], x[:0], w, *case.arguments), torch.zeros_like(w))


@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_nan_stays_visible(name: str) -> None:
    case = CASES[name]
    g, x, w = tensors(case)
    x[0, 0, 0, 0] = float("nan")
    assert naive.add_conv2d(x, w, *case.arguments)[0].isnan().any()
    assert add_conv2d_input_grad(g, x, w, *case.arguments)[0, 0, 0, 0].isnan()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 0}, "stride"),
        ({"stride": (1, -1)}, "stride"),
        ({"stride": (1, 1, 1)}, "stride"),
        ({"padding": -1}, "padding"),
        ({"padding": "same"}, "padding"),
        ({"padding": 0.5}, "padding"),
        ({"dilation": 0}, "dilation"),
        ({"dilation": 9}, "smaller than the dilated kernel"),
        ({"groups": 0}, "groups"),
        ({"groups": 2}, "does not fit"),
        ({"x": torch.zeros(2, 5, 6, 6)}, "does not fit"),
        ({"x": torch.zeros(4, 6, 6)}, "4 dimensions"),
        ({"x": torch.zeros(2, 4, 2, 6)}, "smaller than the dilated kernel"),
        ({"x": torch.zeros(2, 4, 6, 6).double()}, "float64"),
        ({"x": torch.zeros(2, 4, 6, 6).int(), "w": torch.zeros(3, 4, 3, 3).int()}, "floating"),
        ({"w": torch.zeros(0, 4, 3, 3)}, "no elements"),
        ({"w": torch.zeros(3, 4, 9)}, "4 dimensions"),
    ],
)
def test_refuses_what_makes_no_convolution(changes: dict, message: str) -> None:
    arguments = {"x": torch.zeros(2, 4, 6, 6), "w": torch.zeros(3, 4, 3, 3), **changes}
    with pytest.raises(ValueError, match=message):
        add_conv2d(**arguments)
    with pytest.raises(ValueError, match=message):
        add_conv2d_input_grad(torch.zeros(2, 3, 4, 4), **arguments)
    with pytest.raises(ValueError, match=message):
        add_conv2d_weight_grad(torch.zeros(2, 3, 4, 4), **arguments)


@pytest.mark.parametrize("gradient", [torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 4).double()])
def test_refuses_a_gradient_unlike_the_output(gradient: Tensor) -> None:
    x, w = torch.zeros(2, 4, 6, 6), torch.zeros(3, 4, 3, 3)
    with pytest.raises(ValueError, match="output"):
        add_conv2d_input_grad(gradient, x, w)
    with pytest.raises(ValueError, match="output"):
        add_conv2d_weight_grad(gradient, x, w)


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
    assert_all_near(g, x, w, case, FLOAT64_TOLERANCE)
    assert naive.add_conv2d(x, w, *case.arguments).max() <= 0


@parametrize_cases
def test_filters_and_input_channels_may_be_permuted(case: Case) -> None:
    if case.groups > 1:
        pytest.skip("a permutation would cross groups")
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
        reference = Reference(x, w, case)
        assert_near(naive.add_conv2d(x, w, *case.arguments), reference.forward(g.shape), FLOAT32_TOLERANCE)
        assert_near(add_conv2d_input_grad(g, x, w, *case.arguments), reference.input_grad(g), FLOAT32_TOLERANCE)
        assert_near(add_conv2d_weight_grad(g, x, w, *case.arguments), reference.weight_grad(g), FLOAT32_TOLERANCE)
