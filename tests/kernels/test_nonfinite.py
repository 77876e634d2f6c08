"""Nan and infinity of inputs, weights and output gradients reach the results that they take part in, and no others.

The law is `naive` for add convolutions, and torch's convolution in float64 for multiplied ones.
"""

import pytest
import torch
from torch import Tensor

from shiftaddaug.kernels.add import naive, native
from shiftaddaug.kernels.native import Library
from tests.kernels.cases import Case, Reference, results
from tests.kernels.nonfinite import kinds, nonfinite_tensors
from tests.kernels.test_depthwise import reference as depthwise_reference
from tests.kernels.test_depthwise import results as depthwise_results

DEPTHWISE = {
    "depthwise": Case((1, 19, 4, 3), (19, 1, 3, 3), padding=1, groups=19),
    "depthwise, an input row that no patch holds": Case((2, 3, 6, 5), (3, 1, 3, 3), stride=2, groups=3),
}
DENSE = {
    "3x3": Case((1, 19, 4, 3), (5, 19, 3, 3), padding=1),
    "an input row that no patch holds": Case((2, 3, 6, 5), (4, 3, 3, 3), stride=2),
}
ADD = DENSE | DEPTHWISE


def assert_same(results: tuple[Tensor, ...], laws: tuple[Tensor, ...], what: str) -> None:
    """Fail unless output and input gradient are alike; of a weight gradient, which is a difference, what is finite."""
    for name, result, law in zip(("y", "dx"), results, laws, strict=False):
        assert torch.equal(kinds(result), kinds(law)), f"{name}: {what}"
    assert torch.equal(results[2].isfinite(), laws[2].isfinite()), f"dw: {what}"


@pytest.mark.parametrize("case", ADD.values(), ids=ADD.keys())
def test_plain_torch_follows_the_formulas(case: Case) -> None:
    for what, (g, x, w) in nonfinite_tensors(case):
        reference = Reference(x, w, case)
        laws = (reference.forward(g.shape), reference.input_grad(g), reference.weight_grad(g))
        assert_same(results(naive, g, x, w, case), laws, what)


@pytest.mark.parametrize("case", ADD.values(), ids=ADD.keys())
def test_the_core_follows_plain_torch(core: Library, case: Case) -> None:
    for what, (g, x, w) in nonfinite_tensors(case):
        assert_same(results(native, g, x, w, case, core=core), results(naive, g, x, w, case), what)


@pytest.mark.parametrize("case", DEPTHWISE.values(), ids=DEPTHWISE.keys())
def test_depthwise_convolutions_follow_torch_in_float64(core: Library, case: Case) -> None:
    for what, (g, x, w) in nonfinite_tensors(case):
        assert_same(depthwise_results(core, g, x, w, case), depthwise_reference(g, x, w, case), what)
