"""Hybrid layers against METHOD's formulas, written out with plain convolutions in float64."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from tests.build import drawn
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.layers import HybridConv2d, HybridLinear
from shiftaddaug.hybrid.reading import MULTIPLIED
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.mult.operator import Mult

TOLERANCE = 1e-9  # float64, sums of some hundred terms of size up to 1e2

SOURCE, OUT = Widths(5, 9), Widths(6, 11)


@pytest.mark.parametrize("stride", [1, 2])
def test_dense(operator: Operator, stride: int) -> None:
    """Y_t = op(X_t) + mult(X_a), Y_a = mult(X)."""
    layer = drawn(HybridConv2d(operator, SOURCE, OUT, kernel=3, stride=stride)).double()
    w = layer.weight
    effective = operator.effective_weight({"weight": w[:6, :5].contiguous()})
    for channels, out_channels in product((5, 7, 9), (6, 8, 11)):
        x = torch.randn(2, channels, 7, 5, dtype=torch.float64)
        wanted = operator.conv2d(x[:, :5], effective, stride, 1)
        if channels > 5:
            wanted = wanted + F.conv2d(x[:, 5:], w[:6, 5:channels], None, stride, 1)
        if out_channels > 6:
            wanted = torch.cat([wanted, F.conv2d(x, w[6:out_channels, :channels], None, stride, 1)], 1)
        torch.testing.assert_close(layer(x, out_channels), wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("channels", [5, 7, 9])
def test_depthwise(operator: Operator, channels: int) -> None:
    """Y_t = op(X_t), Y_a = mult(X_a), concatenated."""
    layer = drawn(HybridConv2d(operator, SOURCE, SOURCE, kernel=3, stride=2, depthwise=True)).double()
    x = torch.randn(2, channels, 7, 5, dtype=torch.float64)
    effective = operator.effective_weight({"weight": layer.weight[:5]})
    wanted = operator.conv2d(x[:, :5], effective, 2, 1, 1, 5)
    if channels > 5:
        augmented = F.conv2d(x[:, 5:], layer.weight[5:channels], None, 2, 1, 1, channels - 5)
        wanted = torch.cat([wanted, augmented], 1)
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("channels", [5, 7, 9])
def test_linear_head(operator: Operator, channels: int) -> None:
    """logits = op(X_t) + mult(X_a) + bias."""
    layer = drawn(HybridLinear(operator, SOURCE, Widths(4, 4))).double()
    x = torch.randn(3, channels, dtype=torch.float64)
    wanted = operator.linear(x[:, :5], operator.effective_weight({"weight": layer.weight[:, :5]})) + layer.bias
    wanted = wanted + F.linear(x[:, 5:], layer.weight[:, 5:channels])
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=TOLERANCE)


def test_target_width_is_the_operator_alone(operator: Operator) -> None:
    layer = drawn(HybridConv2d(operator, SOURCE, OUT, kernel=3)).double()
    x = torch.randn(2, 5, 7, 5, dtype=torch.float64)
    effective = operator.effective_weight({"weight": layer.weight[:6, :5]})
    assert torch.equal(layer(x), operator.conv2d(x, effective, 1, 1))


def test_multiplicative_pass_multiplies_with_the_same_weight(operator: Operator) -> None:
    layer = drawn(HybridConv2d(operator, SOURCE, OUT, kernel=3)).double()
    x = torch.randn(2, 9, 7, 5, dtype=torch.float64)
    y = layer(x, 11, MULTIPLIED)
    torch.testing.assert_close(y, F.conv2d(x, layer.weight, None, 1, 1), rtol=0, atol=TOLERANCE)


def test_gradient_reaches_only_the_active_slice(operator: Operator) -> None:
    layer = drawn(HybridConv2d(operator, SOURCE, OUT)).double()
    layer(torch.randn(2, 7, 3, 3, dtype=torch.float64), 8).square().sum().backward()
    gradient = layer.weight.grad
    assert isinstance(gradient, Tensor)
    assert gradient[:8, :7].ne(0).all()
    assert gradient[8:].eq(0).all()
    assert gradient[:, 7:].eq(0).all()


def test_only_the_targets_gradient_is_rescaled() -> None:
    add = operators.build("add")
    layer = HybridConv2d(add, SOURCE, OUT)
    layer.weight.grad = torch.randn_like(layer.weight)
    before = layer.weight.grad.clone()
    layer.rescale_gradients()
    target = before[:6, :5]
    wanted = 0.8 * target.numel() ** 0.5 * target / target.norm()  # AdderNet eq. 13, eta 0.8
    torch.testing.assert_close(layer.weight.grad[:6, :5], wanted)
    assert torch.equal(layer.weight.grad[6:], before[6:])
    assert torch.equal(layer.weight.grad[:, 5:], before[:, 5:])


def test_the_targets_first_weights_do_not_depend_on_its_surroundings(operator: Operator) -> None:
    narrow = HybridConv2d(operator, Widths(5, 5), Widths(6, 6), 3)
    wide = HybridConv2d(operator, SOURCE, OUT, 3)
    for layer in (narrow, wide):
        drawn(layer)
    assert torch.equal(wide.weight[:6, :5], narrow.weight)
    bound = (9 * 3 * 3) ** -0.5  # kaiming-uniform at the fan-in of the widest layer
    assert wide.weight[6:].abs().max() <= bound


def test_unshareable_operator_is_refused_only_when_widened() -> None:
    ps = operators.build("shift_ps")
    HybridConv2d(ps, Widths(5, 5), Widths(6, 6))
    with pytest.raises(UserError, match=r"op=shift_ps: .* options: aug=none, or another op"):
        HybridConv2d(ps, Widths(5, 5), OUT)


def test_target_state_is_operator_ready() -> None:
    shift = operators.build("shift")
    layer = drawn(HybridConv2d(shift, SOURCE, OUT, bias=True)).double()
    plain = layer.state()
    assert plain is not None
    operator, state = plain
    assert operator is shift
    assert state["weight"].shape == (6, 5, 1, 1)
    magnitudes = state["weight"].abs()
    assert torch.equal(magnitudes, torch.exp2(torch.log2(magnitudes).round()))
    assert layer.bias is not None
    assert torch.equal(state["bias"], layer.bias[:6])


def test_mult_layers_widened_fully_is_one_convolution() -> None:
    layer = drawn(HybridConv2d(Mult(), SOURCE, OUT, kernel=3)).double()
    x = torch.randn(1, 9, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x, 11), F.conv2d(x, layer.weight, None, 1, 1), rtol=0, atol=TOLERANCE)
