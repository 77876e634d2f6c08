"""Hydra's sweeps as Optuna's distributions."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from shiftaddaug.errors import UserError
from shiftaddaug.search.space import grid_of, read_space


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("a=interval(0.1,2)", FloatDistribution(0.1, 2.0)),
        ("a=int(interval(1,5))", IntDistribution(1, 5)),
        ("a=tag(log,interval(0.01,1.0))", FloatDistribution(0.01, 1.0, log=True)),
        ("a=tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("a=choice(x,y)", CategoricalDistribution(["x", "y"])),
        ("a=x,y", CategoricalDistribution(["x", "y"])),
        ("a=choice([1.0],[1.0,1.6])", CategoricalDistribution(["[1.0]", "[1.0,1.6]"])),
        ("a=choice(true,3)", CategoricalDistribution([True, 3])),
        ("a=range(1,5)", IntDistribution(1, 4)),
        ("a=range(1,6,2)", IntDistribution(1, 5, step=2)),
        ("a=range(0.0,1.0,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
    ],
)
def test_each_sweep_has_its_distribution(override: str, wanted: object) -> None:
    searched, fixed = read_space([override])
    assert searched == {"a": wanted} and fixed == {}


def test_a_later_override_wins_and_the_rest_is_fixed() -> None:
    searched, fixed = read_space(["a=choice(1,2)", "b=3", "+c.d='x y'", "a=5", "b=choice(1,2)"])
    assert searched == {"b": CategoricalDistribution([1, 2])}
    assert fixed == {"+c.d": "'x y'", "a": "5"}


def test_a_grid_lists_every_value_and_an_interval_has_none() -> None:
    searched, _ = read_space(["a=range(0.0,1.0,0.25)", "b=range(2,9,3)", "c=x,y"])
    assert grid_of(searched) == {"a": [0.0, 0.25, 0.5, 0.75], "b": [2, 5, 8], "c": ["x", "y"]}
    with pytest.raises(UserError, match=r"^d: an interval has no grid"):
        grid_of(read_space(["d=interval(0,1)"])[0])


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(UserError, match=r"^a=interval\(5,1\): cannot be searched"):
        read_space(["a=interval(5,1)"])
