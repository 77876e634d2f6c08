"""shift_ps: the trained sign and exponent, and how they start."""

import math

import pytest
import torch

from shiftaddaug.operators.mult.operator import kaiming_uniform
from shiftaddaug.operators.shift.operator import Shift
from shiftaddaug.operators.shift_ps.operator import ShiftPS


def test_effective_weight_is_ternary_sign_times_power_of_two() -> None:
    shift = torch.tensor([-1.4, -1.6, -99.0, 7.0, -3.0, -3.0])
    sign = torch.tensor([0.9, -0.6, 1.0, -5.0, 0.4, -0.4])
    weight = ShiftPS().effective_weight({"shift": shift, "sign": sign})
    assert weight.tolist() == [0.5, -0.25, 2.0**-14, -1.0, 0.0, 0.0]


def test_published_gradients() -> None:
    """d shift = g s 2^p ln 2 and d sign = g, outside the clamps too."""
    shift = torch.tensor([-1.4, -99.0, 7.0, -3.0], requires_grad=True)
    sign = torch.tensor([0.9, -0.6, -5.0, 0.1], requires_grad=True)
    g = torch.tensor([1.0, 2.0, 3.0, 4.0])
    weight = ShiftPS().effective_weight({"shift": shift, "sign": sign})
    weight.backward(g)
    torch.testing.assert_close(shift.grad, g * torch.tensor([0.5, -(2.0**-14), -1.0, 0.0]) * math.log(2))
    assert torch.equal(sign.grad, g)


def test_starts_as_rounded_kaiming_uniform_weights() -> None:
    shape = (64, 32, 3, 3)
    torch.manual_seed(0)
    parameters = ShiftPS().init_parameters(shape)
    torch.manual_seed(0)
    expected = Shift().effective_weight({"weight": kaiming_uniform(shape)})
    weight = ShiftPS().effective_weight(parameters)
    # Latent magnitudes below the smallest step become it here, zero in shift.
    assert (weight - expected).abs().max() <= 2.0**-14


def test_signs_start_spread_between_the_border_of_zero_and_one() -> None:
    sign = ShiftPS().init_parameters((100, 100))["sign"].abs()
    assert sign.min() > 0.5
    assert sign.max() <= 1
    assert sign.std() > 0.1


def test_exponents_are_clamped_and_signs_are_not() -> None:
    """As DeepShift's code does in every forward pass; what is computed stays."""
    operator = ShiftPS(clamp=True)
    shift, sign = torch.linspace(-30, 9, 400), torch.linspace(-3, 3, 400)
    clamped = operator.project("shift", shift)
    assert clamped.tolist() == [min(max(value, -14.0), 0.0) for value in shift.tolist()]
    assert operator.project("sign", sign) is sign
    before, after = (operator.effective_weight({"shift": p, "sign": sign}) for p in (shift, clamped))
    assert torch.equal(before, after)
    assert ShiftPS(clamp=False).project("shift", shift) is shift


def test_decay_is_of_the_weights_that_the_exponents_mean() -> None:
    shift = torch.tensor([-0.3, -1.0, -14.0], dtype=torch.float64, requires_grad=True)
    term = ShiftPS().decay({"shift": shift, "sign": torch.zeros(3)})
    assert term.item() == pytest.approx(0.5 * sum((2.0**p) ** 2 for p in shift.tolist()), rel=1e-12)
    term.backward()
    wanted = [math.log(2) * 2 ** (2 * p) for p in shift.tolist()]
    assert shift.grad is not None and shift.grad.tolist() == pytest.approx(wanted, rel=1e-12)
