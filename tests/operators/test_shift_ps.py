"""shift_ps: the trained sign and exponent, and how they start."""

import math

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
