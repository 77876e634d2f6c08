"""Add convolution as it is recorded for elsewhere: what `naive` computes, by operations that every format has."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shiftaddaug.kernels.add import add_conv2d, naive, recorded
from tests.kernels.cases import CASES, tensors


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_law(name: str) -> None:
    _, x, w = tensors(CASES[name], torch.float64)
    wanted = naive.add_conv2d(x, w, *CASES[name].arguments, 0.25)
    found = recorded.add_conv2d(x, w, *CASES[name].arguments, 0.25)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-13 * wanted.abs().max()


def test_half_precision_is_computed_in_float32() -> None:
    _, x, w = tensors(CASES["3x3"], torch.bfloat16)
    wanted = naive.add_conv2d(x.float(), w.float(), *CASES["3x3"].arguments)
    found = recorded.add_conv2d(x, w, *CASES["3x3"].arguments)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted.bfloat16())


@pytest.mark.parametrize("filters", [1, 8, 9, 300])
def test_filters_are_taken_in_parts(filters: int) -> None:
    x, w = torch.randn(2, 5, 4, 4, dtype=torch.float64), torch.randn(filters, 5, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(recorded.add_conv2d(x, w), naive.add_conv2d(x, w), rtol=0, atol=1e-12)
    program = torch.export.export(_Layer(w), (x,))
    differences = [node for node in program.graph.nodes if node.target == torch.ops.aten.abs.default]
    assert len(differences) <= recorded.PARTS
    at_once = max(recorded.AT_ONCE * max(45, filters) // 45, -(-filters // recorded.PARTS))
    assert max(node.meta["val"].shape[1] for node in differences) == min(filters, at_once)


def test_what_makes_no_convolution_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit input"):
        recorded.add_conv2d(torch.zeros(1, 3, 4, 4), torch.zeros(2, 1, 1, 1))  # which would be broadcast


class _Layer(nn.Module):
    def __init__(self, w: Tensor, *arguments: Any) -> None:
        super().__init__()
        self.w, self.arguments = nn.Parameter(w), arguments

    def forward(self, x: Tensor) -> Tensor:
        return add_conv2d(x, self.w, *self.arguments)


@pytest.mark.parametrize(("name", "strict"), [("grouped", False), ("depthwise, stride 2", True)])
def test_export_records_torch_s_operations_alone_for_any_size(name: str, strict: bool) -> None:
    _, x, w = tensors(CASES[name])
    layer = _Layer(w, *CASES[name].arguments)
    open_sizes = {0: torch.export.Dim("n"), 2: torch.export.Dim("h", min=5), 3: torch.export.Dim("w", min=5)}
    program = torch.export.export(layer, (x,), dynamic_shapes=[open_sizes], strict=strict)
    assert {node.target.namespace for node in program.graph.nodes if hasattr(node.target, "namespace")} == {"aten"}
    other = torch.randn(x.shape[0] + 3, x.shape[1], 11, 8)
    torch.testing.assert_close(program.module()(other), layer(other), rtol=1e-5, atol=1e-5)


def test_compiling_keeps_our_operators() -> None:
    _, x, w = tensors(CASES["3x3"])
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    torch.compiler.reset()
    torch.compile(_Layer(w), backend=backend, fullgraph=True)(x)
    assert [name for name in seen if "add_conv2d" in name], seen
