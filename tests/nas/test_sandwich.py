"""Which sub-networks a step trains."""

from dataclasses import replace

import pytest
from tests.build import read_yaml
from tests.nas.test_space import TABLE, largest, space

from shiftaddaug.errors import UserError
from shiftaddaug.nas.sandwich import SampleSandwich
from shiftaddaug.nas.space import Choices

PLAN = largest(space())
RAW = read_yaml("space", "micro") | {"operators": ["mult"]}


def sampler(seed: int = 0, operators: tuple[str, ...] = ("mult",), **options: object) -> SampleSandwich:
    return SampleSandwich(seed, RAW | {"operators": list(operators)}, TABLE["divisor"], **options)  # type: ignore[arg-type]


def test_the_largest_the_smallest_and_some_between() -> None:
    choices = Choices(PLAN, space(operators=["mult"]), TABLE["divisor"])
    for step in range(20):
        big, small, *drawn = sampler(random_subnets=3).specs(PLAN, step)
        assert big == choices.spec(choices.largest())
        assert small == replace(choices.spec(choices.smallest()), augmented=True)
        assert len(drawn) == 3 and all(spec.augmented for spec in drawn)
        for spec in drawn:
            assert all(a <= b <= c for a, b, c in zip(small.channels, spec.channels, big.channels, strict=True))
            assert spec.skipped <= small.skipped and not spec.operators


def test_without_the_smallest() -> None:
    specs = sampler(sandwich=False, random_subnets=1).specs(PLAN, 0)
    assert len(specs) == 2
    assert len(sampler(random_subnets=0).specs(PLAN, 0)) == 2


def test_draws_follow_from_seed_and_step() -> None:
    one, same, other = (sampler(seed) for seed in (1, 1, 2))
    assert [one.specs(PLAN, step) for step in (5, 6)] == [same.specs(PLAN, step) for step in (5, 6)]
    assert one.specs(PLAN, 5) != one.specs(PLAN, 6) != other.specs(PLAN, 6)


def test_all_networks_of_a_step_draw_the_same_operators() -> None:
    drawn = set()
    for step in range(10):
        specs = sampler(operators=("mult", "shift", "add")).specs(PLAN, step)
        whole = dict(specs[0].operators)
        drawn |= {*whole.values()}
        for spec in specs[1:]:
            alive = {layer.name for layer in PLAN.layers() if layer.unit not in spec.skipped}
            assert dict(spec.operators) == {name: op for name, op in whole.items() if name in alive}
    assert drawn == {"shift", "add"}


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"^callbacks.sample_subnets.random_subnets=-1: must be"):
        sampler(random_subnets=-1)
    with pytest.raises(UserError, match=r"^space.kernels=\[2\]"):
        SampleSandwich(0, RAW | {"kernels": [2]}, 8)
