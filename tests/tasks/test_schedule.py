"""Factors on the learning rate against closed forms."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftaddaug.tasks.schedule import warmup_cosine, warmup_polynomial, warmup_steps_down

FLOORS = st.floats(0, 1)
LENGTHS = st.integers(0, 200).flatmap(lambda warmup: st.tuples(st.just(warmup), st.integers(warmup + 1, 400)))
"""(warm-up steps, all steps)."""


@given(LENGTHS, FLOORS, st.data())
def test_closed_form(lengths: tuple[int, int], floor: float, data: st.DataObject) -> None:
    warmup, total = lengths
    step = data.draw(st.integers(0, total))
    angle = math.pi * (step - warmup) / (total - warmup)
    wanted = (step + 1) / warmup if step < warmup else (1 + floor) / 2 + (1 - floor) / 2 * math.cos(angle)
    assert warmup_cosine(step, total, warmup, floor) == pytest.approx(wanted, rel=1e-12, abs=1e-12)


@given(LENGTHS, FLOORS)
def test_bounds_and_directions(lengths: tuple[int, int], floor: float) -> None:
    warmup, total = lengths
    factors = [warmup_cosine(step, total, warmup, floor) for step in range(total + 10)]
    rounding = 1e-12
    assert all(0 < factor <= 1 for factor in factors[:warmup])
    assert all(floor - rounding <= factor <= 1 + rounding for factor in factors[warmup:])
    assert all(a < b for a, b in pairwise(factors[:warmup]))
    assert all(a >= b - rounding for a, b in pairwise(factors[warmup:]))


@given(LENGTHS, FLOORS)
def test_warmup_ends_where_the_cosine_begins(lengths: tuple[int, int], floor: float) -> None:
    warmup, total = lengths
    assert warmup_cosine(warmup, total, warmup, floor) == pytest.approx(1.0, rel=1e-12)
    if warmup:
        assert warmup_cosine(warmup - 1, total, warmup, floor) == 1.0
        assert warmup_cosine(0, total, warmup, floor) == 1 / warmup


@given(LENGTHS, FLOORS, st.integers(0, 1000))
def test_ends_at_the_floor_and_stays_there(lengths: tuple[int, int], floor: float, beyond: int) -> None:
    warmup, total = lengths
    assert warmup_cosine(total + beyond, total, warmup, floor) == pytest.approx(floor, rel=1e-12, abs=1e-12)


def test_values() -> None:
    factors = [warmup_cosine(step, 6, 2, 0.2) for step in range(7)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.6 + 0.2 * math.sqrt(2), 0.6, 0.6 - 0.2 * math.sqrt(2), 0.2])


def test_warmup_of_the_whole_run_is_no_division_by_zero() -> None:
    assert [warmup_cosine(step, 2, 2) for step in range(3)] == [0.5, 1.0, 1.0]


@given(LENGTHS, FLOORS, st.floats(0.25, 4), st.data())
def test_polynomial(lengths: tuple[int, int], floor: float, power: float, data: st.DataObject) -> None:
    warmup, total = lengths
    step = data.draw(st.integers(0, total))
    left = (total - step) / (total - warmup)
    wanted = (step + 1) / warmup if step < warmup else floor + (1 - floor) * left**power
    assert warmup_polynomial(step, total, warmup, floor, power) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_polynomial_stays_at_the_floor() -> None:
    assert [warmup_polynomial(step, 4, 0, 0.2) for step in (0, 2, 4, 9)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_steps_down() -> None:
    factors = [warmup_steps_down(step, [4, 6], 0.1, warmup_steps=2) for step in range(8)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
