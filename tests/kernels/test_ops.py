"""The torch operators: what autograd, torch.compile, autocast, fake tensors and FLOP counting see of the kernels."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from shiftaddaug.kernels.add import add_conv2d, add_conv2d_input_grad, add_conv2d_weight_grad, implementation
from shiftaddaug.kernels.depthwise import depthwise_conv2d
from shiftaddaug.kernels.tracing import TRACE_HANDLES
from tests.kernels.cases import (
    CASES,
    LAYOUTS,
    MISTAKES,
    Case,
    Reference,
    assert_near,
    laid_out,
    mistaken,
    pair,
    parametrize_few,
    tensors,
)
from tests.kernels.needs import needs_core

ADD_CASES = ["oblong", "grouped", "depthwise, stride 2", "linear"]
DEPTHWISE_CASES = ["depthwise", "depthwise, dilated, oblong"]


def parametrized(add_cases: list[str], depthwise_cases: list[str]) -> pytest.MarkDecorator:
    """Over operators and cases."""
    return pytest.mark.parametrize(
        ("operator", "case"),
        [pytest.param("add_conv2d", CASES[name], id=f"add, {name}") for name in add_cases]
        + [pytest.param("depthwise_conv2d", CASES[name], id=name, marks=needs_core) for name in depthwise_cases],
    )


parametrize_operators = parametrized(ADD_CASES, DEPTHWISE_CASES)
parametrize_slow = parametrized(["oblong", "depthwise, stride 2"], ["depthwise, stride 2"])


def function(operator: str, case: Case) -> Callable[[Tensor, Tensor], Tensor]:
    """Of x and w, as users call it."""
    if operator == "add_conv2d":
        return lambda x, w: add_conv2d(x, w, *case.arguments, 0.25)
    return lambda x, w: depthwise_conv2d(x, w, *case.arguments[:3])


def op_arguments(operator: str, case: Case) -> tuple[Any, ...]:
    """What follows the tensors in a call of torch.ops.shiftaddaug's."""
    pairs = tuple(list(pair(value)) for value in case.arguments[:3])
    return (*pairs, case.groups, 0.25) if operator == "add_conv2d" else pairs


def with_gradients(f: Callable[[Tensor, Tensor], Tensor], g: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """Output, and gradients of input and weight."""
    inputs = (x.detach().requires_grad_(), w.detach().requires_grad_())
    y = f(*inputs)
    return (y.detach(), *torch.autograd.grad(y, inputs, g))


def assert_equal(some: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> None:
    assert all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


@parametrize_slow
@pytest.mark.slow
def test_torch_finds_the_operators_well_formed(operator: str, case: Case) -> None:
    """Schema, registration with autograd, fake tensors, and tracing with fixed and with symbolic sizes."""
    g, x, w = (laid_out(t, "channels_last") for t in tensors(case))
    arguments = op_arguments(operator, case)
    for gradient in ("input_grad", "weight_grad"):
        op = getattr(torch.ops.shiftaddaug, f"{operator}_{gradient}").default
        torch.library.opcheck(op, (g, x, w, *arguments))
    op = getattr(torch.ops.shiftaddaug, operator).default
    torch.library.opcheck(op, (x.requires_grad_(), w.requires_grad_(), *arguments))


@parametrize_operators
def test_fake_results_are_laid_out_as_real_ones(operator: str, case: Case) -> None:
    for layout, weight_layout in product(LAYOUTS, ("plain", "channels_last")):
        g, x, w = tensors(case)
        g, x, w = laid_out(g, layout), laid_out(x, layout), laid_out(w, weight_layout)
        real = with_gradients(function(operator, case), g, x, w)
        with FakeTensorMode() as mode:
            fake = with_gradients(function(operator, case), *(mode.from_tensor(t) for t in (g, x, w)))
        for one, other in zip(real, fake, strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            sizes = zip(one.shape, one.stride(), other.stride(), strict=True)
            same = all(size <= 1 or stride == fake_stride for size, stride, fake_stride in sizes)
            assert same, f"x {layout}, w {weight_layout}: {one.stride()}, not {other.stride()}"


@parametrize_operators
def test_meta_tensors_give_shapes(operator: str, case: Case) -> None:
    g, x, w = (t.to("meta") for t in tensors(case))
    y, dx, dw = with_gradients(function(operator, case), g, x, w)
    assert (y.shape, dx.shape, dw.shape) == (g.shape, x.shape, w.shape)
    assert {t.device.type for t in (y, dx, dw)} == {"meta"}


@parametrize_few
def test_autograd_publishes_the_gradients_of_the_implementation(case: Case) -> None:
    g, x, w = tensors(case)
    _, *gradients = with_gradients(lambda x, w: add_conv2d(x, w, *case.arguments), g, x, w)
    chosen = implementation(x)
    expected = (
        chosen.add_conv2d_input_grad(g, x, w, *case.arguments),
        chosen.add_conv2d_weight_grad(g, x, w, *case.arguments),
    )
    assert_equal(tuple(gradients), expected)
    functions = (add_conv2d_input_grad, add_conv2d_weight_grad)
    assert_equal(expected, tuple(gradient(g, x, w, *case.arguments) for gradient in functions))


@parametrize_operators
def test_autograd_alone_computes_what_the_operators_do(operator: str, case: Case) -> None:
    op, arguments = getattr(torch.ops.shiftaddaug, operator).default, op_arguments(operator, case)
    g, x, w = (laid_out(t, "channels_last") for t in tensors(case))
    direct = with_gradients(function(operator, case), g, x, w)
    assert_equal(direct, with_gradients(lambda x, w: op(x, w, *arguments), g, x, w))


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
@parametrize_operators
def test_the_default_dtype_changes_nothing(operator: str, case: Case, default: torch.dtype) -> None:
    """Lightning sets it in `bf16-true`, around every step."""
    g, x, w = tensors(case)
    expected = with_gradients(function(operator, case), g, x, w)
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        found = with_gradients(function(operator, case), g, x, w)
    finally:
        torch.set_default_dtype(before)
    assert_equal(found, expected)


@parametrize_operators
def test_operators_are_called_only_where_something_watches(operator: str, case: Case) -> None:
    _, x, w = tensors(case)
    x.requires_grad_()
    assert type(function(operator, case)(x, w).grad_fn).__name__ == "_NodeBackward"
    assert type(function(operator, case)(x, nn.Parameter(w)).grad_fn).__name__ == "_NodeBackward"
    with FlopCounterMode(display=False):
        assert type(function(operator, case)(x, w).grad_fn).__name__ != "_NodeBackward"


@parametrize_operators
def test_tracing_records_what_counters_know(operator: str, case: Case) -> None:
    """Multiplied convolutions as torch's, and the differences of add ones."""
    g, x, w = tensors(case)
    traced = torch.jit.trace(function(operator, case), (x, w), check_trace=False)
    nodes = [node for node in traced.inlined_graph.nodes() if not node.kind().startswith(("aten::", "prim::"))]
    assert nodes == []
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert ("aten::_convolution" in kinds) == (operator == "depthwise_conv2d")
    graph, _ = torch.jit._get_trace_graph(function(operator, case), (x, w))  # of which all values have sizes
    counted = [
        TRACE_HANDLES[node.kind()](list(node.inputs()), list(node.outputs()))
        for node in graph.nodes()
        if node.kind() in TRACE_HANDLES
    ]
    assert sum(counted) == (g.numel() * w[0].numel() if operator == "add_conv2d" else 0)


@parametrize_operators
def test_a_function_transform_maps_the_operator(operator: str, case: Case) -> None:
    _, x, w = tensors(case)
    layer = function(operator, case)
    mapped = torch.func.vmap(layer, in_dims=(0, None))(torch.stack([x, 2 * x]), w)
    assert_equal(tuple(mapped), (layer(x, w), layer(2 * x, w)))


@parametrize_operators
def test_a_backward_pass_watched_alone_calls_operators(operator: str, case: Case) -> None:
    g, x, w = tensors(case)
    y = function(operator, case)(x.requires_grad_(), w)
    with FlopCounterMode(display=False) as counter:
        y.backward(g)
    assert {str(op) for op in counter.get_flop_counts()["Global"]} == {f"shiftaddaug.{operator}_input_grad"}


@parametrize_operators
def test_only_wanted_gradients_are_computed(operator: str, case: Case) -> None:
    g, x, w = tensors(case)
    with FlopCounterMode(display=False) as counter:
        y = function(operator, case)(x, w.requires_grad_())
        y.backward(g)
    counted = counter.get_flop_counts()["Global"]
    assert {str(op) for op in counted} == {f"shiftaddaug.{operator}", f"shiftaddaug.{operator}_weight_grad"}


@parametrize_slow
def test_a_compiled_function_equals_the_eager_one(operator: str, case: Case) -> None:
    def layer(x: Tensor, w: Tensor) -> Tensor:
        return function(operator, case)(torch.relu(x), w * 2) + 1

    g, x, w = tensors(case)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_equal(with_gradients(compiled, g, x, w), with_gradients(layer, g, x, w))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@parametrize_operators
def test_flops_are_two_for_each_multiply_accumulate(operator: str, case: Case, device: str) -> None:
    g, x, w = (t.to(device) for t in tensors(case))
    with FlopCounterMode(display=False) as counter:
        with_gradients(function(operator, case), g, x, w)
    macs = g.numel() * w[0].numel()
    names = (operator, f"{operator}_input_grad", f"{operator}_weight_grad")
    counted = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    assert counted == {f"shiftaddaug.{name}": 2 * macs for name in names}


@pytest.mark.parametrize("name", ADD_CASES)
def test_autocast_computes_and_returns_float32(name: str) -> None:
    case = CASES[name]
    g, x, w = tensors(case)
    with torch.autocast("cpu", torch.bfloat16):
        results = with_gradients(lambda x, w: add_conv2d(x, w, *case.arguments), g, x, w)
        half = add_conv2d(x.bfloat16(), w.bfloat16(), *case.arguments)
    assert half.dtype == torch.float32
    assert torch.equal(half, add_conv2d(x.bfloat16().float(), w.bfloat16().float(), *case.arguments))
    assert_equal(results, with_gradients(lambda x, w: add_conv2d(x, w, *case.arguments), g, x, w))


@parametrize_operators
def test_there_is_no_second_derivative(operator: str, case: Case) -> None:
    g, x, w = tensors(case)
    x.requires_grad_()
    (dx,) = torch.autograd.grad(function(operator, case)(x, w), x, g, create_graph=True)
    with pytest.raises(RuntimeError, match=f"{operator}_input_grad"):
        dx.sum().backward()


@pytest.mark.parametrize("differentiable", [False, True])
def test_refuses_what_makes_no_convolution(differentiable: bool) -> None:
    """By the geometry that all convolutions ask: test_geometry.py has all mistakes."""
    for changes, message in (MISTAKES[0], MISTAKES[9], MISTAKES[13]):
        arguments = mistaken(changes)
        arguments["w"].requires_grad_(differentiable)
        with pytest.raises(ValueError, match=message):
            add_conv2d(**arguments)


def test_double_precision_is_computed_as_such() -> None:
    case = CASES["3x3"]
    g, x, w = tensors(case, torch.float64)
    y, dx, dw = with_gradients(lambda x, w: add_conv2d(x, w, *case.arguments), g, x, w)
    reference = Reference(x, w, case)
    assert_near(y, reference.forward(y.shape), 1e-13)
    assert_near(dx, reference.input_grad(g), 1e-13)
    assert_near(dw, reference.weight_grad(g), 1e-13)
