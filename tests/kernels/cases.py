"""What tests of convolution kernels share: cases, tensors, and references written from the published formulas."""

from collections.abc import Mapping
from itertools import cycle, product
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.kernels.layout import memory_format_of

FLOAT32_TOLERANCE = 3e-6
"""Largest error over the reference's largest magnitude."""
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
FEW = ["oblong", "grouped", "depthwise, two filters per channel", "linear"]
"""Names of cases that differ most: for what does not depend on the geometry."""
parametrize_few = pytest.mark.parametrize("case", [CASES[name] for name in FEW], ids=FEW)


def tensors(case: Case, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Output gradient, input and weight, with differences on both sides of HardTanh's borders."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(case.x, generator=generator).to(dtype)
    w = torch.randn(case.w, generator=generator).mul(2).to(dtype)
    shape = F.conv2d(x.double(), w.double(), None, *case.arguments).shape
    return torch.randn(shape, generator=generator).to(dtype), x, w


LAYOUTS = ("plain", "channels_last", "slice", "transposed", "expanded")


def in_turn(cases: Mapping[str, Case], *thorough: str) -> pytest.MarkDecorator:
    """Parameters `case` and `layout`: the layouts take turns over the cases; a `thorough` case has every layout."""
    chosen = [(name, layout) for name, layout in zip(cases, cycle(LAYOUTS), strict=False) if name not in thorough]
    chosen += [(name, layout) for name in thorough for layout in LAYOUTS]
    return pytest.mark.parametrize(
        ("case", "layout"), [pytest.param(cases[name], layout, id=f"{name}, {layout}") for name, layout in chosen]
    )


parametrize_cases = in_turn(CASES, "3x3", "depthwise")


def laid_out(t: Tensor, layout: str) -> Tensor:
    """A copy of t; but if `expanded`, its first image everywhere."""
    if layout == "channels_last":
        return t.contiguous(memory_format=torch.channels_last)
    if layout == "slice":  # of the channels of a wider tensor, which is nan elsewhere
        wider = torch.full((t.shape[0], t.shape[1] + 3, *t.shape[2:]), float("nan"), dtype=t.dtype)
        wider = wider.contiguous(memory_format=torch.channels_last)
        part = wider[:, 2:-1]
        part.copy_(t)
        return part
    if layout == "transposed":
        return t.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
    if layout == "expanded":
        return t[:1].expand(t.shape)
    return t.clone(memory_format=torch.contiguous_format)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


RULES = {"clipped": F.hardtanh, "full": lambda difference: difference, "sign": torch.sign}
"""What a gradient makes of W - X or X - W, by the name that `kernels.add.rules` has for it."""


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

    def input_grad(self, grad_y: Tensor, rule: str = "clipped") -> Tensor:
        columns = (RULES[rule](-self.difference) * self._spread(grad_y)).sum(2)
        return F.fold(columns.flatten(1, 2), tuple(self.x.shape[2:]), **self.unfolding)

    def weight_grad(self, grad_y: Tensor, rule: str = "full") -> Tensor:
        return (RULES[rule](self.difference) * self._spread(grad_y)).sum((0, 4)).reshape(self.w.shape)

    def _spread(self, grad_y: Tensor) -> Tensor:
        return grad_y.double().reshape(grad_y.shape[0], self.groups, -1, 1, self.difference.shape[4])


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    error, largest = (actual.double() - expected).abs().max(), expected.abs().max()
    assert error <= tolerance * largest, f"error {error:.1e}, largest magnitude {largest:.1e}"


def results(
    implementation: ModuleType, g: Tensor, x: Tensor, w: Tensor, case: Case, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and gradients of input and weight, by the functions of `kernels.add.naive` in another module."""
    return (
        implementation.add_conv2d(x, w, *case.arguments, **options),
        implementation.add_conv2d_input_grad(g, x, w, *case.arguments, **options),
        implementation.add_conv2d_weight_grad(g, x, w, *case.arguments, **options),
    )


def assert_all_near(
    implementation: ModuleType, g: Tensor, x: Tensor, w: Tensor, case: Case, tolerance: float, **options: Any
) -> None:
    """Fail unless `results` are near the reference, of the input's dtype and layout, and nothing given has changed."""
    given, reference, scale = [t.clone() for t in (g, x, w)], Reference(x, w, case), options.get("scale", 1.0)
    y, dx, dw = results(implementation, g, x, w, case, **options)
    assert_near(y, scale * reference.forward(g.shape), tolerance)
    assert_near(dx, scale * reference.input_grad(g), tolerance)
    assert_near(dw, scale * reference.weight_grad(g), tolerance)
    assert {t.dtype for t in (y, dx, dw)} == {x.dtype}
    assert all(t.is_contiguous(memory_format=memory_format_of(x)) for t in (y, dx))
    assert all(torch.equal(t, before) for t, before in zip((g, x, w), given, strict=True))


def assert_power_of_two_is_exact(
    implementation: ModuleType, g: Tensor, x: Tensor, w: Tensor, case: Case, **options: Any
) -> None:
    """Fail unless a scale of 0.25 changes exponents alone."""
    scaled = results(implementation, g, x, w, case, scale=0.25, **options)
    for one, other in zip(results(implementation, g, x, w, case, **options), scaled, strict=True):
        assert torch.equal(one * 0.25, other)


MISTAKES = [
    ({"stride": 0}, "stride=0: must be at least 1"),
    ({"stride": (1, -1)}, "stride"),
    ({"stride": (1, 1, 1)}, "must be an integer or a pair of integers"),
    ({"padding": -1}, "padding=-1: must be at least 0"),
    ({"padding": "same"}, "padding"),
    ({"padding": 0.5}, "padding"),
    ({"dilation": 0}, "dilation"),
    ({"dilation": 9}, "smaller than the dilated kernel"),
    ({"groups": 0}, "groups=0: must be a positive integer"),
    ({"groups": 2}, "does not fit"),
    ({"x": torch.zeros(2, 5, 6, 6)}, "does not fit"),
    ({"x": torch.zeros(4, 6, 6)}, "4 dimensions"),
    ({"x": torch.zeros(2, 4, 2, 6)}, "smaller than the dilated kernel"),
    ({"x": torch.zeros(2, 4, 6, 6).double()}, "float64"),
    ({"x": torch.zeros(2, 4, 6, 6, device="meta")}, "on meta, weight is torch.float32 on cpu: must be the same"),
    ({"x": torch.zeros(2, 4, 6, 6).int(), "w": torch.zeros(3, 4, 3, 3).int()}, "floating"),
    ({"w": torch.zeros(0, 4, 3, 3)}, "no elements"),
    ({"w": torch.zeros(3, 4, 9)}, "4 dimensions"),
]
"""Changes to an input of (2, 4, 6, 6) and a weight of (3, 4, 3, 3), and what is said of them."""


def mistaken(changes: dict) -> dict:
    return {"x": torch.zeros(2, 4, 6, 6), "w": torch.zeros(3, 4, 3, 3), **changes}


WRONG_GRADIENTS = [torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 4).double()]
"""Of an output of (2, 3, 4, 4)."""


def assert_mistakes_are_refused(implementation: ModuleType, **options: Any) -> None:
    """Fail unless all functions ask the geometry: test_geometry.py has all mistakes."""
    g = torch.zeros(2, 3, 4, 4)
    gradients = (implementation.add_conv2d_input_grad, implementation.add_conv2d_weight_grad)
    for changes, message in (MISTAKES[0], MISTAKES[9], MISTAKES[13]):
        arguments = mistaken(changes)
        with pytest.raises(ValueError, match=message):
            implementation.add_conv2d(**arguments, **options)
        for gradient in gradients:
            with pytest.raises(ValueError, match=message):
                gradient(g, **arguments, **options)
    for wrong, gradient in product(WRONG_GRADIENTS, gradients):
        with pytest.raises(ValueError, match="output"):
            gradient(wrong, **mistaken({}), **options)
