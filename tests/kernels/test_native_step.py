"""One step of SGD of a layer in float32: the native core against plain torch, with every instruction set.

The layer's loss is 1/2 sum y^2, so that the output's rounding goes on into both gradients and the step.

A float32 sum of n terms, each rounded r times, is off by at most (n + r) 2^-24 times the sum of the terms' magnitudes
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), in whatever order an instruction set adds them.
Two implementations differ by at most twice that. The magnitudes are computed in float64.
"""

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from shiftaddaug.kernels.add import naive
from shiftaddaug.kernels.add import native as add_native
from shiftaddaug.kernels.depthwise import native as depthwise_native
from shiftaddaug.kernels.native import Library
from tests.kernels.cases import Case, tensors

UNIT = 2.0**-24
TERM = 4
"""Roundings of one term: a difference, a product, a scale, and the result."""
CASES = {
    "dense": Case((4, 19, 8, 7), (21, 19, 3, 3), padding=1),
    "dense 1x1": Case((4, 40, 6, 6), (24, 40, 1, 1)),
    "grouped, stride 2": Case((3, 34, 8, 8), (42, 17, 3, 3), stride=2, padding=1, groups=2),
    "depthwise": Case((4, 37, 8, 7), (37, 1, 3, 3), padding=1, groups=37),
    "depthwise 5x5, stride 2": Case((4, 32, 9, 9), (32, 1, 5, 5), stride=2, padding=2, groups=32),
}
DEPTHWISE = [name for name, case in CASES.items() if case.groups == case.x[1]]


class Step(NamedTuple):
    y: Tensor
    dx: Tensor
    w: Tensor
    """After the step."""


def stepped(w: Tensor, dw: Tensor, rate: float) -> Tensor:
    parameter = torch.nn.Parameter(w.clone())
    parameter.grad = dw.clone()
    torch.optim.SGD([parameter], lr=rate).step()
    return parameter.detach()


def assert_within(one: Step, other: Step, bounds: Step) -> None:
    for name, a, b, bound in zip(Step._fields, one, other, bounds, strict=True):
        excess = ((a.double() - b.double()).abs() / bound).max().item()
        assert excess <= 1, f"{name}: {excess:.1f} times the bound"


def bounds(case: Case, x: Tensor, w: Tensor, rate: float, add: bool) -> Step:
    """Largest differences of two implementations, from sums of magnitudes: |x| + |w| bounds |x - w|."""
    x, w = x.double().abs(), w.double().abs()
    arguments = case.arguments
    outputs = F.conv2d(x, w, None, *arguments)
    if add:
        # padded zeros meet weights too
        outputs = F.conv2d(x, torch.ones_like(w), None, *arguments) + w.sum((1, 2, 3)).view(-1, 1, 1)
    g = outputs  # |g| = |y|
    roundings_y = w[0].numel() + TERM
    roundings_x = roundings_y + w.shape[0] // case.groups * w[0, 0].numel() + TERM
    roundings_w = roundings_y + g[:, 0].numel() + TERM
    dx = conv2d_input(x.shape, torch.ones_like(w) if add else w, g, *arguments)
    dw = conv2d_weight(x, w.shape, g, *arguments)
    if add:
        dw = dw + w * g.sum((0, 2, 3)).view(-1, 1, 1, 1)
    step = rate * dw
    return Step(
        *(2 * UNIT * bound for bound in (roundings_y * outputs, roundings_x * dx, (roundings_w + 2) * step + w))
    )


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_an_add_layer_is_that_of_the_plain_one(core: Library, name: str) -> None:
    case = CASES[name]
    _, x, w = tensors(case)

    def gradients(**options: Library) -> tuple[Tensor, Tensor, Tensor]:
        implementation = add_native if options else naive
        y = implementation.add_conv2d(x, w, *case.arguments, **options)
        return (
            y,
            implementation.add_conv2d_input_grad(y, x, w, *case.arguments, **options),
            implementation.add_conv2d_weight_grad(y, x, w, *case.arguments, **options),
        )

    check(case, x, w, gradients(core=core), gradients(), add=True)


@pytest.mark.parametrize("name", DEPTHWISE)
def test_a_step_of_a_multiplying_depthwise_layer_is_torch_s(core: Library, name: str) -> None:
    case = CASES[name]
    _, x, w = tensors(case)
    y = depthwise_native.conv2d(x, w, *case.arguments[:3], core=core)
    found = (
        y,
        depthwise_native.input_grad(y, x, w, *case.arguments[:3], core=core),
        depthwise_native.weight_grad(y, x, w, *case.arguments[:3], core=core),
    )
    y = F.conv2d(x, w, None, *case.arguments)
    wanted = (y, conv2d_input(x.shape, w, y, *case.arguments), conv2d_weight(x, w.shape, y, *case.arguments))
    check(case, x, w, found, wanted, add=False)


def check(case: Case, x: Tensor, w: Tensor, found: tuple[Tensor, ...], wanted: tuple[Tensor, ...], add: bool) -> None:
    """A step that moves the weights by about their own size, then the differences."""
    rate = float(w.abs().max() / wanted[2].abs().max())
    one, other = (Step(y, dx, stepped(w, dw, rate)) for y, dx, dw in (found, wanted))
    limits = bounds(case, x, w, rate, add)
    assert (other.w - w).abs().median() > 100 * limits.w.median()  # a step that were not made would be seen
    assert_within(one, other, limits)
