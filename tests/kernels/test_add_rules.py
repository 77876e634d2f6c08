"""The gradients of AdderNet's study against float64 references written from the formulas, and against autograd."""

from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.kernels.add import add_conv2d, blocks, gpu, implementation, naive, native, rules
from tests.kernels.cases import (
    CASES,
    FLOAT32_TOLERANCE,
    FLOAT64_TOLERANCE,
    HALF_TOLERANCE,
    LAYOUTS,
    WRONG_GRADIENTS,
    Case,
    Reference,
    assert_near,
    laid_out,
    mistaken,
    parametrize_cases,
    parametrize_few,
    tensors,
)
from tests.kernels.needs import needs_core
from tests.kernels.test_add_memory import parametrize_cases as parametrize_memory_cases
from tests.kernels.test_add_memory import peak_bytes

INPUT_RULES, WEIGHT_RULES = rules.INPUT_GRADIENTS, rules.WEIGHT_GRADIENTS
COMBINATIONS = list(product(WEIGHT_RULES, INPUT_RULES))
parametrize_combinations = pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
parametrize_geometries = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
implementations = pytest.mark.parametrize(
    "computed_by", [naive, pytest.param(native, marks=needs_core)], ids=["naive", "native"]
)


def assert_rules(by: ModuleType, g: Tensor, x: Tensor, w: Tensor, case: Case, tolerance: float, scale: float) -> None:
    """Fail unless every rule, by these functions of HardTanh, is its formula, and nothing given has changed."""
    given, reference = [t.clone() for t in (g, x, w)], Reference(x.cpu(), w.cpu(), case)
    for rule in INPUT_RULES:
        dx = rules.input_grad(by, rule, g, x, w, *case.arguments, scale)
        assert dx.dtype == x.dtype
        assert_near(dx.cpu(), scale * reference.input_grad(g.cpu(), rule), tolerance)
    for rule in WEIGHT_RULES:
        dw = rules.weight_grad(by, rule, g, x, w, *case.arguments, scale)
        assert dw.dtype == w.dtype
        assert_near(dw.cpu(), scale * reference.weight_grad(g.cpu(), rule), tolerance)
    assert all(torch.equal(t, before) for t, before in zip((g, x, w), given, strict=True))


def gradients(g: Tensor, x: Tensor, w: Tensor, case: Case, combination: tuple[str, str]) -> tuple[Tensor, ...]:
    """Output and both gradients, as autograd gives them; the scale is 0.25."""
    inputs = (x.detach().requires_grad_(), w.detach().requires_grad_())
    y = add_conv2d(*inputs, *case.arguments, 0.25, *combination)
    return (y.detach(), *torch.autograd.grad(y, inputs, g.to(y.dtype)))


@parametrize_cases
@implementations
def test_every_rule_is_its_formula(case: Case, layout: str, computed_by: ModuleType) -> None:
    assert_rules(computed_by, *(laid_out(t, layout) for t in tensors(case)), case, FLOAT32_TOLERANCE, 0.3)


@parametrize_few
def test_double_precision_is_computed_as_such(case: Case) -> None:
    assert_rules(naive, *tensors(case, torch.float64), case, FLOAT64_TOLERANCE, 0.3)


@parametrize_few
@pytest.mark.parametrize("dtype", HALF_TOLERANCE)
@implementations
def test_half_precision_is_computed_in_float32(case: Case, dtype: torch.dtype, computed_by: ModuleType) -> None:
    assert_rules(computed_by, *tensors(case, dtype), case, HALF_TOLERANCE[dtype], 1.0)


@parametrize_geometries
def test_blocks_of_any_size_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for elements in (1, 400):
        monkeypatch.setattr(blocks, "CPU_BUFFER_ELEMENTS", (elements, elements))
        assert_rules(naive, *tensors(case), case, FLOAT32_TOLERANCE, 1.0)


@parametrize_geometries
@pytest.mark.parametrize("power", [1, 2], ids=["sign", "full"])
def test_signs_and_differences_are_derivatives_that_autograd_finds(case: Case, power: int) -> None:
    """Of -sum |X - W| and of -sum (X - W)^2 / 2, with ties: autograd, too, takes the slope of |0| for 0."""
    g, x, w = (t.double() for t in tensors(case))
    x, w = x.round().requires_grad_(), w.round().requires_grad_()
    reference = Reference(x, w, case)
    assert (reference.difference == 0).any()
    y = -(reference.difference.abs() ** power / power).sum(3).reshape(g.shape)
    dx, dw = torch.autograd.grad(y, (x, w), g)
    rule = "sign" if power == 1 else "full"
    _, *found = gradients(g * 4, x, w, case, (rule, rule))
    assert_near(found[0], dx, FLOAT64_TOLERANCE)
    assert_near(found[1], dw, FLOAT64_TOLERANCE)


@parametrize_few
@parametrize_combinations
def test_autograd_combines_them(case: Case, combination: tuple[str, str]) -> None:
    g, x, w = tensors(case)
    y, dx, dw = gradients(g, x, w, case, combination)
    weight_rule, input_rule = combination
    assert torch.equal(y, implementation(x).add_conv2d(x, w, *case.arguments, 0.25))
    assert torch.equal(dx, rules.input_grad(implementation(x), input_rule, g, x, w, *case.arguments, 0.25))
    assert torch.equal(dw, rules.weight_grad(implementation(x), weight_rule, g, x, w, *case.arguments, 0.25))


@parametrize_few
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_first_of_each_are_the_published_ones_bit_for_bit(case: Case, dtype: torch.dtype) -> None:
    g, x, w = tensors(case, dtype)
    inputs = (x.requires_grad_(), w.requires_grad_())
    y = add_conv2d(*inputs, *case.arguments, 0.25)
    found = torch.autograd.grad(y, inputs, g)
    published = (implementation(x).add_conv2d_input_grad, implementation(x).add_conv2d_weight_grad)
    for one, gradient in zip(found, published, strict=True):
        assert torch.equal(one, gradient(g, x, w, *case.arguments, 0.25))
    for one, other in zip((y, *found), gradients(g, x, w, case, COMBINATIONS[0]), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@implementations
def test_signs_are_exact_between_the_magnitudes_that_are_stated(dtype: torch.dtype, computed_by: ModuleType) -> None:
    """Neighbours, and equal numbers, at the least and the largest magnitude, of either sign."""
    if dtype == torch.float64 and computed_by is native:
        pytest.skip("the core serves no float64")
    bits, largest = (24, 128) if dtype == torch.float32 else (53, 1024)
    s = rules.SIGN_EXPONENT[dtype]
    for magnitude in (2.0 ** (bits - s), 1.0, 2.0 ** (largest - s) * (1 - 2.0**-bits)):
        for sign in (-1, 1):
            base = torch.tensor(sign * magnitude, dtype=dtype)
            below, above = (base.nextafter(torch.tensor(to, dtype=dtype)) for to in (-torch.inf, torch.inf))
            inside = [t for t in (below, above) if t.abs() <= base.abs()]
            x = torch.stack([base, base, *inside, -base]).view(1, -1, 1, 1)
            w = torch.stack([torch.zeros((), dtype=dtype), base, *[base] * len(inside), base]).view(1, -1, 1, 1)
            g, signs = torch.ones(1, 1, 1, 1, dtype=dtype), (w > x).to(dtype) - (w < x).to(dtype)
            assert torch.equal(rules.input_grad(computed_by, "sign", g, x, w, 1, 0, 1, 1, 1.0), signs)
            assert torch.equal(rules.weight_grad(computed_by, "sign", g, x, w, 1, 0, 1, 1, 1.0), -signs)


def test_the_sign_of_nothing_is_nothing() -> None:
    x, g = torch.randn(1, 6, 1, 1), torch.ones(1, 1, 1, 1)
    _, dx, dw = gradients(g, x, x.clone(), CASES["linear"], ("sign", "sign"))
    assert not dx.any() and not dw.any()


@parametrize_few
def test_empty_batch(case: Case) -> None:
    g, x, w = tensors(case)
    for combination in COMBINATIONS:
        _, dx, dw = gradients(g[:0], x[:0], w, case, combination)
        assert dx.shape == x[:0].shape and torch.equal(dw, torch.zeros_like(w))


@parametrize_few
def test_nan_stays_visible(case: Case) -> None:
    g, x, w = tensors(case)
    place = tuple(size // 2 for size in x.shape)
    x[place] = torch.nan
    for combination in COMBINATIONS:
        _, dx, dw = gradients(g, x, w, case, combination)
        assert dx[place].isnan() and dw.isnan().any(), combination


@parametrize_few
def test_autocast_computes_in_float32(case: Case) -> None:
    g, x, w = tensors(case)
    for combination in COMBINATIONS:
        with torch.autocast("cpu", torch.bfloat16):
            results = gradients(g, x, w, case, combination)
        for one, other in zip(results, gradients(g, x, w, case, combination), strict=True):
            assert torch.equal(one, other), combination


@pytest.mark.parametrize("name", ["oblong", "depthwise, stride 2"])
@parametrize_combinations
@pytest.mark.slow
def test_a_compiled_function_equals_the_eager_one(name: str, combination: tuple[str, str]) -> None:
    case = CASES[name]
    g, x, w = tensors(case)

    def layer(x: Tensor, w: Tensor) -> Tensor:
        return add_conv2d(torch.relu(x), w * 2, *case.arguments, 0.25, *combination) + 1

    torch.compiler.reset()
    found = []
    for function in (torch.compile(layer, fullgraph=True, backend="aot_eager"), layer):
        inputs = (x.detach().requires_grad_(), w.detach().requires_grad_())
        y = function(*inputs)
        found.append((y, *torch.autograd.grad(y, inputs, g)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("combination", [("full", "sign"), ("sign", "full")], ids="-".join)
@pytest.mark.parametrize("name", ["grouped", "depthwise, two filters per channel"])
def test_the_operators_promise_the_layout_they_give(name: str, combination: tuple[str, str], layout: str) -> None:
    """Of the rules with code of their own; test_ops.py has the published ones."""
    case = CASES[name]
    g, x, w = (laid_out(t, layout) for t in tensors(case))
    g = g.view_as(add_conv2d(x, w, *case.arguments))
    arguments = (*([*p] if isinstance(p, tuple) else [p, p] for p in case.arguments[:3]), case.groups, 0.25)
    for gradient in ("input_grad", "weight_grad"):
        op = getattr(torch.ops.shiftaddaug, f"add_conv2d_{gradient}").default
        torch.library.opcheck(op, (g, x, w, *arguments, *combination), test_utils="test_faketensor")


@parametrize_memory_cases
@pytest.mark.parametrize("combination", [("sign", "sign"), ("sign", "full")], ids="-".join)
def test_peak_memory_is_within_twice_a_convolutions(
    combination: tuple[str, str], x_shape: tuple, w_shape: tuple, arguments: tuple, tmp_path: Path
) -> None:
    x, w = torch.randn(x_shape), torch.randn(w_shape)
    g = torch.randn(F.conv2d(x, w, None, *arguments).shape)

    def step(layer: object, *more: object) -> object:
        inputs = (x.detach().requires_grad_(), w.detach().requires_grad_())
        y = layer(*inputs, *more)  # type: ignore[operator]
        return (y, *torch.autograd.grad(y, inputs, g))

    convolution = peak_bytes(lambda: step(F.conv2d, None, *arguments), tmp_path)
    assert peak_bytes(lambda: step(add_conv2d, *arguments, 1.0, *combination), tmp_path) <= 2 * convolution


@pytest.mark.parametrize("combination", [("full", "full"), ("sign", "sign"), ("full", "clipped")], ids="-".join)
def test_mistakes_are_refused(combination: tuple[str, str]) -> None:
    """By the geometry that every rule asks: test_geometry.py has all mistakes."""
    fixed = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "scale": 1.0}
    for function, rule in zip((rules.weight_grad, rules.input_grad), combination, strict=True):
        with pytest.raises(ValueError, match="does not fit"):
            function(naive, rule, torch.zeros(2, 3, 4, 4), **fixed | mistaken({"groups": 2}))
        for gradient in WRONG_GRADIENTS:
            with pytest.raises(ValueError, match="output"):
                function(naive, rule, gradient, **fixed | mistaken({}))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"weight_gradient": "clipped"}, "^weight_gradient=clipped: must be one of full, sign$"),
        ({"input_gradient": "half"}, "^input_gradient=half: must be one of clipped, full, sign$"),
    ],
)
def test_unknown_rules(rule: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        add_conv2d(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), **rule)


@pytest.mark.skipif(not torch.cuda.is_available() or not gpu.has_triton(), reason="needs a CUDA device, and triton")
@parametrize_cases
def test_cuda_equals_the_formulas(case: Case, layout: str) -> None:
    g, x, w = (laid_out(t, layout).cuda() for t in tensors(case))
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert_rules(gpu, g, x, w, case, FLOAT32_TOLERANCE, 0.3)
        assert_rules(naive, g, x, w, case, FLOAT32_TOLERANCE, 0.3)
