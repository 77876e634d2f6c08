"""Random convolutions through the native core: equal to the plain ones, and no access outside the tensors.

10,000 of each kind instead of some dozens, in a few minutes:

    python -m pytest tests/kernels/test_native_fuzz.py --hypothesis-profile=fuzz

Under sanitizers: `make sanitize` (sanitize.py).
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shiftaddaug.kernels.add import naive
from shiftaddaug.kernels.add import native as add_native
from shiftaddaug.kernels.depthwise import native as depthwise_native
from shiftaddaug.kernels.native import Library, library
from shiftaddaug.kernels.native.build import library_path
from tests.kernels import sanitize
from tests.kernels.cases import LAYOUTS, Case, laid_out
from tests.kernels.needs import needs_compiler, needs_core

pytestmark = needs_core


@pytest.fixture(scope="module", autouse=True)
def threads_for_little_work() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("shiftaddaug.kernels.native.library"), "SINGLE_THREAD_MACS", 0)
        yield


@contextmanager
def threads(number: int) -> Iterator[None]:
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(1)


@cache
def core_with(isa: str) -> Library:
    return Library(library_path(), isa)


class Problem(NamedTuple):
    """Values are multiples of 1/8, so that float32 sums are exact and results must be equal to the last bit."""

    g: Tensor
    x: Tensor
    w: Tensor
    case: Case
    core: Library
    threads: int


def multiples(generator: torch.Generator, shape: tuple[int, ...], most: int) -> Tensor:
    return torch.randint(-8 * most, 8 * most + 1, shape, generator=generator) / 8


@st.composite
def cases(draw: st.DrawFn, depthwise: bool) -> Case:
    """Up to some vectors of channels, some pixels, and geometries of all kinds."""
    small, many = st.integers(1, 3), st.one_of(st.integers(1, 9), st.integers(1, 70))
    pairs = [draw(st.tuples(numbers, numbers)) for numbers in (st.integers(1, 5), small, st.integers(0, 4), small)]
    kernel, stride, padding, dilation = pairs
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(1, s - 2 * p) + draw(st.integers(0, 9)) for s, p in zip(spans, padding, strict=True)]
    groups = draw(many if depthwise else st.one_of(st.just(1), small))
    channels, filters = (1, 1) if depthwise else (draw(many), draw(many))
    x = (draw(small), groups * channels, *size)
    return Case(x, (groups * filters, channels, *kernel), stride, padding, dilation, groups)


@st.composite
def problems(draw: st.DrawFn, depthwise: bool) -> Problem:
    case = draw(cases(depthwise))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    x, w = multiples(generator, case.x, 2), multiples(generator, case.w, 2)
    shape = F.conv2d(x.to("meta"), w.to("meta"), None, *case.arguments).shape
    g = multiples(generator, tuple(shape), 1)
    g, x = (laid_out(t, draw(st.sampled_from(LAYOUTS))) for t in (g, x))
    # torch's own weight gradient fails for one filter with such strides: "slow_conv2d: grad_weight must be contiguous"
    layouts = [layout for layout in LAYOUTS if case.w[0] > 1 or layout != "transposed"]
    w = laid_out(w, draw(st.sampled_from(layouts)))
    installed = library()
    assert installed is not None
    core = core_with(draw(st.sampled_from(installed.isas)))
    return Problem(g, x, w, case, core, draw(st.sampled_from((1, 1, 1, 2, 3))))


def check_add(problem: Problem) -> None:
    g, x, w, case, core, number = problem
    arguments = (*case.arguments, 0.5)
    with threads(number):
        y = add_native.add_conv2d(x, w, *arguments, core=core)
        dx = add_native.add_conv2d_input_grad(g, x, w, *arguments, core=core)
        dw = add_native.add_conv2d_weight_grad(g, x, w, *arguments, core=core)
    g, x, w = (t.double().contiguous() for t in (g, x, w))
    assert torch.equal(y.double(), naive.add_conv2d(x, w, *arguments))
    assert torch.equal(dx.double(), naive.add_conv2d_input_grad(g, x, w, *arguments))
    assert torch.equal(dw.double(), naive.add_conv2d_weight_grad(g, x, w, *arguments))


@settings(deadline=None)
@given(problem=problems(depthwise=False))
def test_dense_and_grouped(problem: Problem) -> None:
    check_add(problem)


@settings(deadline=None)
@given(problem=problems(depthwise=True))
def test_depthwise(problem: Problem) -> None:
    check_add(problem)
    g, x, w, case, core, number = problem
    arguments = case.arguments[:3]
    with threads(number):
        y = depthwise_native.conv2d(x, w, *arguments, core=core)
        dx = depthwise_native.input_grad(g, x, w, *arguments, core=core)
        dw = depthwise_native.weight_grad(g, x, w, *arguments, core=core)
    inputs = (x.double().contiguous().requires_grad_(), w.double().contiguous().requires_grad_())
    expected = F.conv2d(*inputs, None, *case.arguments)
    expected_dx, expected_dw = torch.autograd.grad(expected, inputs, g.double())
    for one, other in ((y, expected), (dx, expected_dx), (dw, expected_dw)):
        assert torch.equal(one.double(), other)


@needs_compiler
def test_nothing_outside_the_tensors_is_touched(tmp_path: Path) -> None:
    """fuzz.c, whose tensors end at forbidden pages, with the installed core."""
    driver = sanitize.compile_driver(tmp_path / "fuzz", library_path())
    assert sanitize.drive(driver, seed=0, problems=1000, threads=1) == "1000 problems right\n"
    assert sanitize.drive(driver, seed=1, problems=100, threads=3) == "100 problems right\n"
