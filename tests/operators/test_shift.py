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


def published_clamp(w: Tensor) -> Tensor:
    """DeepShift's clamp of the latent weight, line by line, for 5 bits."""
    w, low, high = w.clone(), 2.0**-15, 1.0
    w[w > high] = high
    w[w < -high] = -high
    w[(w > 0) & (w < low)] = low
    w[(w < 0) & (w > -low)] = -low
    return w


class TestClamp:
    def test_it_is_deepshifts_and_what_is_computed_stays(self) -> None:
        latent = torch.cat([sign * 2.0 ** torch.linspace(-140, 10, 3001) for sign in (1, -1)] + [torch.zeros(2)])
        operator = Shift(clamp=True)
        clamped = operator.project("weight", latent)
        assert torch.equal(clamped, published_clamp(latent))
        before, after = (operator.effective_weight({"weight": w}) for w in (latent, clamped))
        assert torch.equal(before, after) and torch.equal(before.signbit(), after.signbit())
        assert Shift(clamp=False).project("weight", latent) is latent

    @pytest.mark.parametrize("bits", [2, 3, 8])
    def test_what_is_computed_stays_at_other_bits(self, bits: int) -> None:
        operator = Shift(weight_bits=bits, max_exponent=1, clamp=True)
        latent = torch.cat([sign * 2.0 ** torch.linspace(-140, 10, 3001) for sign in (1, -1)])
        clamped = operator.project("weight", latent)
        before, after = (operator.effective_weight({"weight": w}) for w in (latent, clamped))
        assert torch.equal(before, after)
        assert clamped.abs().max() == 2

    def test_a_step_and_a_projection_are_the_published_loop(self) -> None:
        """SGD with momentum on sum(g w): the published code clamps before each forward pass, in float64 by hand."""
        gradients = torch.cat([torch.full((60, 4), -0.05), torch.full((40, 4), 0.05)]).double()
        gradients *= torch.tensor([1.0, 0.5, -1.0, 1e-4], dtype=torch.float64)
        start = torch.tensor([0.5, -0.25, 0.7, 1e-4], dtype=torch.float64)
        wanted, velocity, read = start.clone(), torch.zeros(4, dtype=torch.float64), []
        for gradient in gradients:
            wanted = published_clamp(wanted)
            read.append(wanted.clone())
            velocity = 0.9 * velocity + gradient
            wanted = wanted - 0.1 * velocity
        operator, weight = Shift(clamp=True), torch.nn.Parameter(start.clone())
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        for gradient, seen in zip(gradients, read, strict=True):
            torch.testing.assert_close(weight.detach(), seen, rtol=1e-12, atol=0)
            weight.grad = gradient
            optimizer.step()
            weight.data = operator.project("weight", weight.data)

    def test_a_saturated_weight_answers_a_reversed_gradient_at_once(self) -> None:
        """After 300 steps outwards, steps until the exponent moves: few with the clamp, about 300 without it."""
        answers = {}
        for clamp in (True, False):
            operator, w = Shift(clamp=clamp), torch.tensor([0.9])
            for _ in range(300):
                w = operator.project("weight", w + 0.01)
            answers[clamp] = 0
            while operator.effective_weight({"weight": w}) == 1:
                w = operator.project("weight", w - 0.01)
                answers[clamp] += 1
        assert answers[True] == 30  # from 1 to 2^-1/2
        assert answers[False] > 300
