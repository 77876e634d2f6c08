"""Rounding: exact values, bounds and straight-through gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shiftaddaug.operators.quantize import fixed_point, round_power_of_two, straight_through

floats = st.floats(-8, 8, width=32)
exponents = st.tuples(st.integers(-20, 0), st.integers(0, 5))


def test_known_powers_of_two() -> None:
    w = torch.tensor([1.0, -1.0, 1.41, 1.42, -0.71, -0.70, 0.3, 100.0, -100.0, 0.0])
    expected = [1.0, -1.0, 1.0, 2.0, -1.0, -0.5, 0.25, 2.0, -2.0, 0.0]
    assert round_power_of_two(w, -4, 1).tolist() == expected


def test_magnitudes_that_round_below_the_smallest_step_become_zero() -> None:
    border = 2.0**-4.5
    w = torch.tensor([border * 1.001, border * 0.999, -border * 1.001, -border * 0.999, 1e-45, -0.0])
    assert round_power_of_two(w, -4, 0).tolist() == [2.0**-4, 0.0, -(2.0**-4), 0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_power_of_two_is_kept_exactly(dtype: torch.dtype) -> None:
    steps = torch.tensor([2.0**p for p in range(-14, 1)], dtype=dtype)
    rounded = round_power_of_two(steps, -14, 0)
    assert rounded.dtype == dtype
    assert torch.equal(rounded, steps)


def test_the_whole_exponent_range_of_float32() -> None:
    steps = torch.tensor([2.0**p for p in range(-126, 128)])
    assert torch.equal(round_power_of_two(steps, -126, 127), steps)


@given(st.lists(floats, min_size=1, max_size=20), exponents)
def test_results_are_nearest_powers_of_two_in_range_and_stay(values: list[float], bounds: tuple[int, int]) -> None:
    w = torch.tensor(values)
    rounded = round_power_of_two(w, *bounds)
    assert torch.equal(round_power_of_two(rounded, *bounds), rounded)
    for value, result in zip(w.tolist(), rounded.tolist(), strict=True):
        exponent = math.log2(abs(value)) if value else -math.inf
        if result == 0:
            assert exponent < bounds[0] - 0.5 + 1e-6
            continue
        p = math.log2(abs(result))
        assert p == int(p)
        assert bounds[0] <= p <= bounds[1]
        assert (result > 0) == (value > 0)
        assert abs(p - exponent) <= 0.5 + 1e-6 or (p == bounds[1] and exponent > p)


def test_rounding_weights_passes_every_gradient_on() -> None:
    w = torch.tensor([0.3, -1e-9, 0.0, 50.0, -50.0], requires_grad=True)
    gradient = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    round_power_of_two(w, -4, 0).backward(gradient)
    assert torch.equal(w.grad, gradient)


def test_nan_is_not_hidden() -> None:
    assert round_power_of_two(torch.tensor([float("nan")]), -4, 0).isnan().all()
    assert fixed_point(torch.tensor([float("nan")]), 3, 4).isnan().all()


def test_known_fixed_point_values() -> None:
    x = torch.tensor([0.3, -0.3, 0.125, 0.375, 1.6, 1.9, 100.0, -1.9, -2.0, -100.0])
    expected = [0.25, -0.25, 0.0, 0.5, 1.5, 1.75, 1.75, -2.0, -2.0, -2.0]
    assert fixed_point(x, integer_bits=1, fraction_bits=2).tolist() == expected


@given(st.lists(floats, min_size=1, max_size=20), st.integers(0, 4), st.integers(0, 10))
def test_fixed_point_is_the_nearest_of_the_grid(values: list[float], integer_bits: int, fraction_bits: int) -> None:
    x, step = torch.tensor(values), 2.0**-fraction_bits
    result = fixed_point(x, integer_bits, fraction_bits)
    codes = result / step
    assert torch.equal(codes, codes.round())
    assert codes.min() >= -(2 ** (integer_bits + fraction_bits))
    assert codes.max() < 2 ** (integer_bits + fraction_bits)
    assert torch.equal(fixed_point(result, integer_bits, fraction_bits), result)
    saturated = x.clamp(-(2.0**integer_bits), 2.0**integer_bits - step)
    assert (result - saturated).abs().max() <= step / 2


def test_fixed_point_passes_gradients_inside_the_range_only() -> None:
    x = torch.tensor([-2.1, -2.0, 0.3, 1.75, 1.76], requires_grad=True)
    fixed_point(x, 1, 2).backward(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]


def test_straight_through_is_exactly_the_replacement() -> None:
    value, replacement = torch.tensor([1e8], requires_grad=True), torch.tensor([0.1])
    result = straight_through(value, replacement)
    assert torch.equal(result, replacement)
    result.backward(torch.tensor([7.0]))
    assert value.grad.item() == 7
    assert replacement.grad is None


def test_arguments_are_left_alone() -> None:
    x = torch.linspace(-3, 3, 13)
    copy = x.clone()
    round_power_of_two(x, -2, 0)
    fixed_point(x, 1, 2)
    assert torch.equal(x, copy)


def test_float32_rounds_as_float64_does() -> None:
    """Both ways of rounding, over all exponents and next to every border."""
    borders = torch.tensor([2.0**e * m for e in range(-18, 4) for m in (1.0, 2**0.5)], dtype=torch.float32)
    near = [borders, borders.nextafter(torch.tensor(0.0)), borders.nextafter(torch.tensor(9e9)), torch.randn(10_000)]
    w = torch.cat([torch.cat(near), -torch.cat(near), torch.zeros(1), torch.tensor([1e-45, 1e-39, 3e38])])
    fast = round_power_of_two(w, -14, 0)
    assert torch.equal(fast.double(), round_power_of_two(w.double(), -14, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_recorded_rounds_alike(dtype: torch.dtype) -> None:
    """At every border of two powers, on both of its sides, at zeros, and at what is no number."""
    borders = torch.tensor([sign * 2.0 ** (p - 0.5) for p in range(-20, 6) for sign in (-1, 1)], dtype=dtype)
    up, down = (torch.nextafter(borders, torch.full_like(borders, towards)) for towards in (9.0, -9.0))
    drawn = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    special = torch.tensor([0.0, -0.0, float("inf"), float("nan")], dtype=dtype)
    w = torch.cat([borders, up, down, drawn, special])
    layer = _Rounding()
    program = torch.export.export(layer, (w,))
    assert torch.equal(program.module()(w).nan_to_num(-77), layer(w).nan_to_num(-77))


class _Rounding(torch.nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return round_power_of_two(w, -14, 2)
