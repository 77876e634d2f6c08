"""Sampling of sub-networks."""

import random

import pytest
from tests.build import plan_of, read_yaml

from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import Widening


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of("mcunet")


def test_target_is_the_plan(plan: Plan) -> None:
    widening = Widening(plan, (1.0, 2.2), (1.0, 2.8))
    assert widening.target().channels == tuple(space.channels for space in plan.spaces)
    assert not widening.target().augmented


def test_widths_are_target_times_multipliers(plan: Plan) -> None:
    widening = Widening(plan, (1.0, 2.0), (1.0, 3.0))
    for space, widest in zip(plan.spaces, widening.max_channels(), strict=True):
        factor = {"fixed": 1, "width": 2, "hidden": 6}[space.kind]
        assert widest == factor * space.channels


def test_a_sample_stays_between_target_and_widest(plan: Plan) -> None:
    widening = Widening(plan, (1.0, 1.6, 2.2), (1.0, 1.6, 2.2, 2.8))
    widest = widening.max_channels()
    generator = random.Random(0)
    seen = set()
    for _ in range(50):
        spec = widening.sample(generator)
        assert spec.augmented
        assert all(t.channels <= c <= w for t, c, w in zip(plan.spaces, spec.channels, widest, strict=True))
        seen.add(spec)
    assert len(seen) == 50


def test_hidden_width_follows_the_width_of_its_input(plan: Plan) -> None:
    widening = Widening(plan, (1.0, 2.0), (1.0,))
    index = plan.index()
    spec = widening.sample(random.Random(1))
    for space in plan.spaces:
        if space.kind == "hidden":
            parent_factor = spec.channels[index[space.parent]] / plan.channels()[space.parent]
            assert spec.channels[index[space.name]] == space.channels * parent_factor


@pytest.mark.parametrize(("width", "expand"), [(True, False), (False, True)])
def test_a_kind_that_has_stopped_is_left_out(plan: Plan, width: bool, expand: bool) -> None:
    widening = Widening(plan, (2.0,), (3.0,))
    spec = widening.sample(random.Random(0), width=width, expand=expand)
    factors = {"fixed": 1, "width": 2 if width else 1, "hidden": (2 if width else 1) * (3 if expand else 1)}
    assert spec.channels == tuple(space.channels * factors[space.kind] for space in plan.spaces)


def test_every_multiplier_is_drawn_equally_often(plan: Plan) -> None:
    widening = Widening(plan, (1.0, 2.0), (1.0,))
    generator, stem = random.Random(0), plan.index()["stem"]
    draws = [widening.sample(generator).channels[stem] for _ in range(1000)]
    assert set(draws) == {16, 32}
    assert 450 < draws.count(32) < 550  # binomial, 3 sigma = 47


def test_rounding_never_makes_a_space_narrower_than_the_target() -> None:
    """33 channels times 1.05 are nearest to 32, a multiple of 8."""
    plan = plan_of(read_yaml("net", "resnet20") | {"divisor": 1, "width_mult": 2.0625})
    assert 33 in plan.channels().values()
    spec = Widening(plan, (1.0, 1.05), (1.0, 1.05)).max_channels()
    assert all(space.channels <= widest for space, widest in zip(plan.spaces, spec, strict=True))
