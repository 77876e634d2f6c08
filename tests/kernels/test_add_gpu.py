"""The Triton kernels: compiled where there is CUDA, else in Triton's interpreter, which computes the same on a CPU.

The interpreter is chosen when Triton is imported, so `test_in_the_interpreter` starts a process for it that runs this
file once more. `TRITON_INTERPRET=1 pytest tests/kernels/test_add_gpu.py` shows its tests one by one.
"""

import importlib.util
import os
import subprocess
import sys
from itertools import cycle, islice, product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from shiftaddaug.kernels.add import gpu, implementation, naive
from shiftaddaug.kernels.layout import empty_input_grad, empty_output, memory_format_of
from tests.kernels.cases import (
    CASES,
    FLOAT32_TOLERANCE,
    HALF_TOLERANCE,
    LAYOUTS,
    Case,
    Reference,
    assert_all_near,
    assert_mistakes_are_refused,
    assert_near,
    laid_out,
    tensors,
)
from tests.kernels.nonfinite import kinds, nonfinite_tensors

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = importlib.util.find_spec("triton") is not None
DEVICE = "cpu" if INTERPRETED else "cuda"
RUNS_KERNELS = HAS_TRITON and (INTERPRETED or torch.cuda.is_available())
runs_kernels = pytest.mark.skipif(
    not RUNS_KERNELS, reason="needs triton, and a CUDA device or TRITON_INTERPRET=1 in the environment"
)
needs_cuda = pytest.mark.skipif(
    not HAS_TRITON or INTERPRETED or not torch.cuda.is_available(),
    reason="needs triton and a CUDA device, and TRITON_INTERPRET unset",
)

HALF_WEIGHT_TOLERANCE = {dtype: 2 * tolerance for dtype, tolerance in HALF_TOLERANCE.items()}
"""Of weight gradients: the convolution's part is rounded too."""

SEVERAL_TILES = Case((2, 5, 8, 9), (11, 5, 1, 1))
GROUPED = Case((2, 4, 4, 3), (6, 2, 1, 2), padding=(0, 1), groups=2)
INTERPRETED_CASES = [
    (SEVERAL_TILES, "plain"),
    (CASES["1x1, stride 2"], "transposed"),
    (CASES["oblong"], "channels_last"),
    (CASES["padding beyond the kernel"], "slice"),
    (Case((1, 3, 4, 3), (2, 3, 2, 2)), "plain"),
    (GROUPED, "channels_last"),
    (CASES["depthwise, dilated, oblong"], "channels_last"),
    (CASES["depthwise, two filters per channel"], "slice"),
    (Case((1, 9, 9, 17), (9, 1, 2, 2), stride=(2, 1), padding=1, dilation=(2, 1), groups=9), "plain"),
]
"""Those that show most in little time."""
LARGE_CASES = {
    "several tiles": SEVERAL_TILES,
    "patches": Case((2, 3, 64, 32), (40, 3, 16, 16), stride=16),
    "a3": Case((4, 64, 8, 8), (64, 64, 3, 3), padding=1),
    "b1": Case((3, 48, 16, 16), (192, 48, 1, 1)),
    "odd": Case((5, 20, 13, 13), (36, 20, 3, 3), padding=1),
    "strided": Case((4, 33, 17, 15), (65, 33, 3, 3), stride=2, padding=1),
    "grouped, odd": Case((3, 51, 14, 14), (27, 17, 5, 5), padding=2, groups=3),
    "c1": Case((4, 192, 16, 16), (192, 1, 3, 3), padding=1, groups=192),
    "c2": Case((4, 480, 8, 8), (480, 1, 7, 7), padding=3, groups=480),
    "s2": Case((4, 144, 16, 16), (144, 1, 5, 5), stride=2, padding=2, groups=144),
}
COMPILED_CASES = [
    *zip(CASES.values(), cycle(LAYOUTS), strict=False),
    *product(LARGE_CASES.values(), ("plain", "channels_last")),
]
"""Compiling takes seconds: not everything in every layout."""
CASES_HERE = INTERPRETED_CASES if INTERPRETED else COMPILED_CASES if RUNS_KERNELS else []
parametrize_cases = pytest.mark.parametrize(("case", "layout"), CASES_HERE)
HALF_CASES = [GROUPED, CASES["depthwise, two filters per channel"]]
pairs = zip(HALF_TOLERANCE, HALF_CASES, strict=True) if INTERPRETED else product(HALF_TOLERANCE, HALF_CASES)
parametrize_half = pytest.mark.parametrize(("dtype", "case"), list(pairs))


@pytest.fixture(autouse=True)
def _exact_convolutions_and_poisoned_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(gpu, "empty_output", lambda *arguments: empty_output(*arguments).fill_(torch.nan))
    monkeypatch.setattr(gpu, "empty_input_grad", lambda x: empty_input_grad(x).fill_(torch.nan))


@pytest.fixture
def _untuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first tile that fits: nothing else is compiled."""
    if RUNS_KERNELS:
        from shiftaddaug.kernels.add import gpu_tuning

        fitting = gpu_tuning.fitting
        monkeypatch.setattr(gpu_tuning, "fitting", lambda *arguments: fitting(*arguments)[:1])


def on_device(t: Tensor) -> Tensor:
    """t with its strides, what lies between its elements included."""
    everything = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage())
    return everything.to(DEVICE).as_strided(t.shape, t.stride(), t.storage_offset())


def tensors_here(
    case: Case, layout: str = "plain", dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    g, x, w = (on_device(laid_out(t, layout)) for t in tensors(case, dtype))
    return g, x, w


@pytest.mark.skipif(
    INTERPRETED or torch.cuda.is_available(),
    reason="the kernels are tested directly; needs TRITON_INTERPRET unset and no CUDA device",
)
@pytest.mark.skipif(not HAS_TRITON, reason="needs triton: pip install triton")
@pytest.mark.slow
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-p", "no:cacheprovider"]
    process = subprocess.run(
        command,
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-1000:]


@runs_kernels
@pytest.mark.usefixtures("_untuned")
@parametrize_cases
def test_equals_the_formulas_and_the_plain_computation(case: Case, layout: str) -> None:
    g, x, w = tensors_here(case, layout)
    reference, scale = Reference(x, w, case), 0.3
    for name, arguments, expected in (
        ("add_conv2d", (x, w), reference.forward(g.shape)),
        ("add_conv2d_input_grad", (g, x, w), reference.input_grad(g)),
        ("add_conv2d_weight_grad", (g, x, w), reference.weight_grad(g)),
    ):
        actual, plain = (getattr(module, name)(*arguments, *case.arguments, scale) for module in (gpu, naive))
        assert_near(actual, scale * expected, FLOAT32_TOLERANCE)
        assert_near(actual, plain.double(), 2 * FLOAT32_TOLERANCE)
        assert actual.dtype == plain.dtype
        if name != "add_conv2d_weight_grad":
            assert actual.is_contiguous(memory_format=memory_format_of(x))


@runs_kernels
@parametrize_half
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, case: Case) -> None:
    g, x, w = tensors_here(case, "plain", dtype)
    reference = Reference(x, w, case)
    y = gpu.add_conv2d(x, w, *case.arguments)
    dx = gpu.add_conv2d_input_grad(g, x, w, *case.arguments)
    dw = gpu.add_conv2d_weight_grad(g, x, w, *case.arguments)
    assert {t.dtype for t in (y, dx, dw)} == {dtype}
    assert_near(y, reference.forward(g.shape), HALF_TOLERANCE[dtype])
    assert_near(dx, reference.input_grad(g), HALF_TOLERANCE[dtype])
    assert_near(dw, reference.weight_grad(g), HALF_WEIGHT_TOLERANCE[dtype])


@runs_kernels
@pytest.mark.parametrize("case", [CASES["1x1, stride 2"], Case((2, 3, 5, 5), (3, 1, 1, 1), stride=3, groups=3)])
def test_inputs_that_no_patch_holds_have_no_gradient(case: Case) -> None:
    g, x, w = tensors_here(case)
    dx = gpu.add_conv2d_input_grad(g, x, w, *case.arguments)
    assert_near(dx, Reference(x, w, case).input_grad(g), FLOAT32_TOLERANCE)
    assert (dx[:, :, 1::3, 1] == 0).all() if case.stride == 3 else (dx[:, :, 1::2] == 0).all()


@runs_kernels
@pytest.mark.parametrize("groups", [1, 3])
def test_nan_stays_visible(groups: int) -> None:
    case = Case((2, 3, 3, 3), (3, 3 // groups, 2, 1), groups=groups)
    g, x, w = tensors_here(case)
    x[0, 0, 0, 0] = float("nan")
    assert gpu.add_conv2d(x, w, *case.arguments)[0].isnan().any()
    dx = gpu.add_conv2d_input_grad(g, x, w, *case.arguments)
    assert dx[0, 0, 0, 0].isnan()
    assert dx.isnan().sum() == 1


@runs_kernels
@pytest.mark.parametrize(
    "case", [Case((1, 3, 4, 3), (2, 3, 1, 1)), Case((1, 2, 4, 3), (2, 1, 2, 2), padding=1, groups=2)]
)
@pytest.mark.usefixtures("_untuned")
def test_what_is_not_finite_reaches_what_it_takes_part_in(case: Case) -> None:
    for what, given in islice(nonfinite_tensors(case), None, None, 5):  # the interpreter is slow
        g, x, w = (on_device(t) for t in given)
        y, dx = gpu.add_conv2d(x, w, *case.arguments), gpu.add_conv2d_input_grad(g, x, w, *case.arguments)
        assert torch.equal(kinds(y.cpu()), kinds(naive.add_conv2d(*given[1:], *case.arguments))), what
        assert torch.equal(kinds(dx.cpu()), kinds(naive.add_conv2d_input_grad(*given, *case.arguments))), what


@runs_kernels
def test_gradient_borders() -> None:
    x = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 4.0], device=DEVICE).view(1, 6, 1, 1)
    w, g = torch.zeros(1, 6, 1, 1, device=DEVICE), torch.ones(1, 1, 1, 1, device=DEVICE)
    assert gpu.add_conv2d_input_grad(g, x, w).flatten().tolist() == [1, 1, 0.5, 0, -0.5, -1]
    assert gpu.add_conv2d_weight_grad(g, x, w).flatten().tolist() == x.flatten().tolist()


@runs_kernels
def test_tiles_fit_what_they_divide() -> None:
    from shiftaddaug.kernels.add import gpu_tuning

    configs = [gpu_tuning._config(tile) for tile in gpu_tuning.FORWARD_TILES]

    def widths(filters: int) -> set[int]:
        return {gpu_tuning.columns_of(config.kwargs) for config in gpu_tuning.fitting(configs, filters)}

    assert widths(64) == {64, 32}
    assert widths(24) == {8}
    assert widths(96) == {32, 16}
    assert widths(1000) == {64, 32}


@runs_kernels
def test_similar_sizes_share_a_class() -> None:
    from shiftaddaug.kernels.add.gpu_tuning import size_class

    assert size_class(1, 40, 3, 9, True) == size_class(1, 63, 2, 15, True)
    different = [(1, 64, 3, 9, True), (2, 40, 3, 9, True), (1, 40, 4, 9, True), (1, 40, 3, 25, True)]
    assert len({size_class(*sizes) for sizes in [*different, (1, 40, 3, 9, True), (1, 40, 3, 9, False)]}) == 6


@needs_cuda
@pytest.mark.parametrize("name", ["a3", "strided", "odd", "patches"])
@pytest.mark.parametrize("layout", ["plain", "channels_last"])
@pytest.mark.parametrize("kernel_name", ["dense_forward", "dense_input_grad"])
def test_compiled_tiles_do_not_change_results(
    name: str, layout: str, kernel_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shiftaddaug.kernels.add import gpu_kernels

    case = LARGE_CASES[name]
    g, x, w = tensors_here(case, layout)
    kernel, results = getattr(gpu_kernels, kernel_name), []
    for config in kernel.configs:
        monkeypatch.setattr(kernel, "configs", [config])
        if kernel_name == "dense_forward":
            results.append(gpu.add_conv2d(x, w, *case.arguments))
        else:
            results.append(gpu.add_conv2d_input_grad(g, x, w, *case.arguments))
    assert len(results) > 1
    assert all(torch.equal(result, results[0]) for result in results)


@needs_cuda
@pytest.mark.parametrize("name", ["b1", "c1"])
def test_compiled_and_tuned_they_equal_the_formulas(name: str) -> None:
    g, x, w = tensors_here(LARGE_CASES[name])
    assert_all_near(gpu, g, x, w, LARGE_CASES[name], FLOAT32_TOLERANCE)


@needs_cuda
def test_compiled_places_beyond_32_bits() -> None:
    case = Case((2, 5, 6, 7), (3, 5, 3, 3), padding=1)
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("needs a CUDA device with 12 GiB of free memory")
    g, x, w = tensors_here(case, "plain", torch.bfloat16)
    images = torch.empty(2**31 + x[0].numel(), dtype=x.dtype, device=x.device)
    far = images.as_strided(x.shape, (2**31, *x.stride()[1:]))
    far.copy_(x)
    assert torch.equal(gpu.add_conv2d(far, w, *case.arguments), gpu.add_conv2d(x, w, *case.arguments))
    dx = gpu.add_conv2d_input_grad(g, far, w, *case.arguments)
    assert torch.equal(dx, gpu.add_conv2d_input_grad(g, x, w, *case.arguments))


@needs_cuda
def test_compiled_kernels_serve_cuda() -> None:
    assert implementation(torch.zeros(1, 1, 1, 1, device="cuda")) is gpu


def on_a_gpu(dtype: torch.dtype) -> Tensor:
    return SimpleNamespace(is_cuda=True, dtype=dtype)  # type: ignore[return-value]


def test_available() -> None:
    assert not gpu.available(torch.zeros(1, 1, 1, 1))
    assert not gpu.available(on_a_gpu(torch.float64))
    assert gpu.available(on_a_gpu(torch.bfloat16)) == HAS_TRITON


def test_without_triton_it_imports_and_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    specification = importlib.util.spec_from_file_location("gpu_without_triton", gpu.__file__)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert not module.available(on_a_gpu(torch.float32))


@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_empty_batch(name: str) -> None:
    case = CASES[name]
    g, x, w = tensors(case)
    assert gpu.add_conv2d(x[:0], w, *case.arguments).shape == g[:0].shape
    assert gpu.add_conv2d_input_grad(g[:0], x[:0], w, *case.arguments).shape == x[:0].shape
    assert torch.equal(gpu.add_conv2d_weight_grad(g[:0], x[:0], w, *case.arguments), torch.zeros_like(w))


def test_mistakes_are_refused() -> None:
    assert_mistakes_are_refused(gpu)
