"""Memory of add convolutions, next to that of torch's own convolution in the same run.

Counted is what torch allocates; the native core's own buffers, packed weights and a part of an image, are small.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from shiftaddaug.kernels.add import add_conv2d, naive, native
from tests.kernels.needs import needs_core

MEMORY_CASES = {
    "dense 3x3": ((64, 16, 16, 16), (16, 16, 3, 3), (1, 1, 1, 1)),
    "1x1": ((64, 48, 8, 8), (192, 48, 1, 1), (1, 0, 1, 1)),
    "depthwise 3x3": ((64, 192, 8, 8), (192, 1, 3, 3), (1, 1, 1, 192)),
}
"""Shapes of x and w, and (stride, padding, dilation, groups)."""
parametrize_cases = pytest.mark.parametrize(
    ("x_shape", "w_shape", "arguments"), MEMORY_CASES.values(), ids=MEMORY_CASES.keys()
)


def peak_bytes(step: Callable[[], object], folder: Path) -> int:
    """Most bytes that torch's CPU allocator held during a step, above what it held before."""
    trace = folder / "trace.json"
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = step()  # kept: outputs count
    del result
    profiler.export_chrome_trace(str(trace))
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e.get("name") == "[memory]"]
    assert events, "the profiler recorded no allocation"
    live = peak = 0
    for event in sorted(events, key=lambda e: e["ts"]):
        live += event["args"]["Bytes"]
        peak = max(peak, live)
    return peak


@parametrize_cases
@pytest.mark.parametrize("phase", ["forward", "forward and backward"])
@pytest.mark.parametrize(
    "implementation",
    [naive, pytest.param(native, marks=needs_core)],
    ids=["naive", "native"],
)
def test_peak_memory_is_within_twice_a_convolutions(
    implementation: ModuleType, x_shape: tuple, w_shape: tuple, arguments: tuple, phase: str, tmp_path: Path
) -> None:
    x, w = torch.randn(x_shape), torch.randn(w_shape)
    g = torch.randn(F.conv2d(x, w, None, *arguments).shape)

    def convolution() -> tuple[Tensor, ...]:
        if phase == "forward":
            return (F.conv2d(x, w, None, *arguments),)
        inputs = (x.detach().requires_grad_(), w.detach().requires_grad_())
        y = F.conv2d(*inputs, None, *arguments)
        return (y, *torch.autograd.grad(y, inputs, g))

    def adder() -> tuple[Tensor, ...]:
        y = implementation.add_conv2d(x, w, *arguments)
        if phase == "forward":
            return (y,)
        gradients = (implementation.add_conv2d_input_grad, implementation.add_conv2d_weight_grad)
        return (y, *(gradient(g, x, w, *arguments) for gradient in gradients))

    assert peak_bytes(adder, tmp_path) <= 2 * peak_bytes(convolution, tmp_path)


@parametrize_cases
def test_only_input_and_weight_are_kept_for_the_backward_pass(x_shape: tuple, w_shape: tuple, arguments: tuple) -> None:
    x, w = torch.randn(x_shape), torch.randn(w_shape)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        add_conv2d(x.requires_grad_(), w.requires_grad_(), *arguments)
    assert sorted(kept) == sorted([x.data_ptr(), w.data_ptr()])
