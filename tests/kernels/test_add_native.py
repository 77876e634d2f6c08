"""The native core's add convolution against float64 references, with every instruction set of this machine."""

import pytest
import torch

from shiftaddaug.kernels.add import native
from shiftaddaug.kernels.native import Library
from tests.kernels.cases import (
    CASES,
    FLOAT32_TOLERANCE,
    HALF_TOLERANCE,
    Case,
    Reference,
    assert_all_near,
    assert_mistakes_are_refused,
    assert_near,
    assert_power_of_two_is_exact,
    in_turn,
    laid_out,
    results,
    tensors,
)

ALL_CASES = CASES | {
    "1x1, vectors and a rest": Case((2, 19, 3, 5), (53, 19, 1, 1)),
    "3x3, vectors and a rest": Case((2, 33, 4, 5), (37, 33, 3, 3), padding=1),
    "3x3, whole vectors": Case((2, 16, 5, 4), (48, 16, 3, 3), padding=1),
    "grouped, vectors and a rest": Case((2, 34, 4, 4), (42, 17, 3, 3), stride=2, padding=1, groups=2),
    "many rows": Case((1, 48, 40, 18), (5, 48, 2, 2), stride=(3, 1), padding=1),
    "depthwise, vectors and a rest": Case((3, 37, 6, 11), (37, 1, 3, 3), padding=1, groups=37),
    "depthwise, whole vectors": Case((20, 32, 5, 5), (32, 1, 3, 3), groups=32),
    "depthwise 5x5, stride 2": Case((2, 35, 9, 8), (35, 1, 5, 5), stride=2, padding=2, groups=35),
    "depthwise 1x1": Case((3, 21, 4, 5), (21, 1, 1, 1), groups=21),
    "depthwise, large images": Case((1, 72, 32, 31), (72, 1, 2, 2), padding=1, groups=72),
}
REST = [name for name in ALL_CASES if name.endswith("and a rest")]
"""Cases with whole vectors of channels and some channels beside: they pass through most of the core."""
parametrize_rest = pytest.mark.parametrize("case", [ALL_CASES[name] for name in REST], ids=REST)

LONG_SUMS = {
    "1x1, 50000 channels": Case((1, 50000, 1, 3), (4, 50000, 1, 1)),
    "1x1, 5000 filters": Case((2, 7, 2, 3), (5000, 7, 1, 1)),
    "1x1, 5000 channels": Case((2, 5000, 2, 3), (7, 5000, 1, 1)),
    "3x3, 512 channels": Case((1, 512, 4, 5), (9, 512, 3, 3), padding=1),
    "3x3, 512 filters": Case((1, 9, 4, 5), (512, 9, 3, 3), padding=1),
    "depthwise 31x31": Case((1, 3, 31, 31), (3, 1, 31, 31), padding=15, groups=3),
    "depthwise 3x3, 131072 positions": Case((2, 3, 256, 256), (3, 1, 3, 3), padding=1, groups=3),
    "depthwise 1x1, 131072 positions": Case((32, 3, 64, 64), (3, 1, 1, 1), groups=3),
}

DIVISIBLE = {
    "dense": Case((5, 24, 13, 11), (40, 24, 3, 3), stride=2, padding=1),
    "1x1": Case((5, 40, 11, 11), (40, 40, 1, 1)),
    "depthwise": Case((5, 70, 20, 20), (70, 1, 3, 3), padding=1, groups=70),
}
"""Enough work for several threads."""
parametrize_divisible = pytest.mark.parametrize("case", DIVISIBLE.values(), ids=DIVISIBLE.keys())


@in_turn(ALL_CASES, *REST)
@pytest.mark.usefixtures("poisoned_memory")
def test_equals_the_formulas(core: Library, case: Case, layout: str) -> None:
    """What torch has allocated is nan until it is written to: results are written completely."""
    assert torch.empty(3, memory_format=torch.contiguous_format).isnan().all()
    g, x, w = (laid_out(t, layout) for t in tensors(case))
    assert_all_near(native, g, x, w, case, FLOAT32_TOLERANCE, scale=0.3, core=core)


@pytest.mark.parametrize("case", LONG_SUMS.values(), ids=LONG_SUMS.keys())
def test_long_sums_stay_accurate(core: Library, case: Case) -> None:
    g, x, w = tensors(case)
    assert_all_near(native, g.abs(), x, w, case, FLOAT32_TOLERANCE, core=core)


@parametrize_rest
def test_common_offsets_cost_no_accuracy(core: Library, case: Case) -> None:
    """|x - w| is computed as such: an error is small next to the sum, however large x and w are."""
    case = case._replace(padding=0, x=(*case.x[:2], *(s + 8 for s in case.x[2:])))
    _, x, w = tensors(case)
    y = native.add_conv2d(x + 100, w + 100, *case.arguments, core=core)
    reference = Reference(x + 100, w + 100, case).forward(y.shape)
    assert ((y - reference) / reference).abs().max() <= FLOAT32_TOLERANCE


@parametrize_rest
def test_a_power_of_two_as_scale_is_exact(core: Library, case: Case) -> None:
    assert_power_of_two_is_exact(native, *tensors(case), case, core=core)


@parametrize_rest
@pytest.mark.parametrize("dtype", HALF_TOLERANCE)
def test_half_precision_is_computed_in_float32(core: Library, case: Case, dtype: torch.dtype) -> None:
    assert_all_near(native, *tensors(case, dtype), case, HALF_TOLERANCE[dtype], core=core)


@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_infinity_is_clipped_as_any_other_value(core: Library, name: str, value: float) -> None:
    case = CASES[name]
    g, x, w = tensors(case)
    x[0, 1, 2, 3] = value
    assert native.add_conv2d(x, w, *case.arguments, core=core).isneginf().any()
    expected = Reference(x.clamp(-1e6, 1e6), w, case).input_grad(g)
    assert_near(native.add_conv2d_input_grad(g, x, w, *case.arguments, core=core), expected, FLOAT32_TOLERANCE)


@parametrize_divisible
@pytest.mark.usefixtures("one_thread_afterwards")
def test_the_number_of_threads_changes_nothing(core: Library, case: Case) -> None:
    arguments = tuple(laid_out(t, "channels_last") for t in tensors(case))
    outcomes = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y, dx, dw = results(native, *arguments, case, core=core)
        outcomes.append((y, dx, dw) if case.groups > 1 else (y, dx))  # other weight gradients are torch's own
    for outcome in outcomes[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outcomes[0], outcome, strict=True))


@parametrize_divisible
def test_an_image_is_computed_alike_in_any_batch(core: Library, case: Case) -> None:
    g, x, w = (laid_out(t, "channels_last") for t in tensors(case))
    y, dx, _ = results(native, g, x, w, case, core=core)
    for some in (slice(0, 1), slice(1, 3), slice(4, 5)):
        part_y, part_dx, _ = results(native, g[some], x[some], w, case, core=core)
        assert torch.equal(part_y, y[some])
        assert torch.equal(part_dx, dx[some])


@pytest.mark.parametrize("name", ["3x3", "depthwise", "grouped"])
def test_an_empty_batch(core: Library, name: str) -> None:
    case = CASES[name]
    g, x, w = tensors(case)
    y, dx, dw = results(native, g[:0], x[:0], w, case, core=core)
    assert (y.shape, dx.shape) == (g[:0].shape, x[:0].shape)
    assert torch.equal(dw, torch.zeros_like(w))


def test_mistakes_are_refused(core: Library) -> None:
    assert_mistakes_are_refused(native, core=core)


def test_too_little_memory_is_said(core: Library) -> None:
    """Packed weights of 2**48 bytes, which no address space holds."""
    many = 2**23
    x, w = torch.zeros(1, 1, 1, 1).expand(1, many, 1, 1), torch.zeros(1, 1, 1, 1).expand(many, many, 1, 1)
    with pytest.raises(MemoryError, match="out of memory"):
        native.add_conv2d(x, w, core=core)


@pytest.mark.parametrize(("device", "dtype"), [("meta", torch.float32), ("cpu", torch.float64), ("cpu", torch.int32)])
def test_serves_no_other_tensors(device: str, dtype: torch.dtype) -> None:
    assert not native.available(torch.zeros(1, 1, 1, 1, device=device, dtype=dtype))
