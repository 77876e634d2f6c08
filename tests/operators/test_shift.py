"""shift: what its weights become, and its optional fixed-point input."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.operators import build
from shiftaddaug.operators.shift.operator import Shift


def quantised(x: Tensor) -> Tensor:
    """8 bits, 4 of them fraction."""
    return (x * 16).round().clamp(-128, 127) / 16


def test_five_bits_are_deepshifts_exponents() -> None:
    assert Shift().min_exponent == -14
    assert Shift(weight_bits=3, max_exponent=1).min_exponent == -1
    assert Shift(weight_bits=2).min_exponent == 0


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_weights_fit_their_bits(bits: int) -> None:
    operator = Shift(weight_bits=bits)
    latent = torch.cat([sign * 2.0 ** torch.linspace(-140, 10, 3001) for sign in (1, -1)])
    weights = operator.effective_weight({"weight": latent})
    assert len(weights.unique()) == 2**bits - 1
    assert weights.abs().max() == 1


def test_conv2d_is_a_convolution_with_the_weights_given() -> None:
    x, w = torch.randn(2, 4, 6, 5), torch.randn(6, 2, 3, 3)
    arguments = (2, (1, 0), 1, 2)
    assert torch.equal(Shift().conv2d(x, w, *arguments), F.conv2d(x, w, None, *arguments))
    assert torch.equal(Shift().linear(x, torch.eye(5)), x)


def test_latent_weight_gets_the_convolutions_gradient() -> None:
    x, latent = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3, requires_grad=True)
    operator = Shift()
    weight = operator.effective_weight({"weight": latent})
    y = operator.conv2d(x, weight, padding=1)
    g = torch.randn_like(y)
    y.backward(g)
    expected = torch.nn.grad.conv2d_weight(x, tuple(latent.shape), g, padding=1)
    torch.testing.assert_close(latent.grad, expected)


def test_activations_in_fixed_point() -> None:
    operator = Shift(activation_bits=8, activation_fraction_bits=4)
    x, w = torch.randn(2, 3, 5, 5) * 6, torch.randn(4, 3, 3, 3)
    assert torch.equal(operator.prepare_input(x, {}), quantised(x))
    assert torch.equal(Shift().prepare_input(x, {}), x)
    assert torch.equal(operator.conv2d(x, w), F.conv2d(x, w))
    assert not operator.linear_in_weight
    assert Shift().linear_in_weight


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_bits": 1}, r"^op\.weight_bits=1: must be a whole number >= 2 and <= 8$"),
        ({"weight_bits": 9}, r"op\.weight_bits=9"),
        ({"weight_bits": 5.0}, r"op\.weight_bits=5\.0"),
        ({"weight_bits": True}, r"op\.weight_bits=true"),
        ({"max_exponent": 200}, r"^op\.max_exponent=200: must be a whole number >= -112 and <= 127$"),
        ({"activation_bits": 8}, "set both, or neither"),
        ({"activation_fraction_bits": 8}, "set both, or neither"),
        ({"activation_bits": 25, "activation_fraction_bits": 8}, r"op\.activation_bits=25: must be .* >= 2 and <= 24"),
        ({"activation_bits": 8, "activation_fraction_bits": 8}, r"op\.activation_fraction_bits=8: .* >= 0 and <= 7"),
    ],
)
def test_refuses_bad_fields(fields: dict, message: str) -> None:
    for name in ("shift", "shift_ps"):
        with pytest.raises(UserError, match=message):
            build(name, **fields)
