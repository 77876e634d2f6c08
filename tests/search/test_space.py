"""Hydra's sweeps as Optuna's distributions."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
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
        ("a=range(1.0,0.0,-0.25)", FloatDistribution(0.25, 1.0, step=0.25)),
        ("a=range(9,1,-3)", IntDistribution(3, 9, step=3)),
        ("a=tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
        ("a=shuffle(choice(2,1))", CategoricalDistribution([2, 1])),
    ],
)
def test_each_sweep_has_its_distribution(override: str, wanted: object) -> None:
    searched, fixed = read_space([override])
    assert searched == {"a": wanted} and fixed == {}


def test_a_later_override_wins_and_the_rest_is_fixed() -> None:
    searched, fixed = read_space(["a=choice(1,2)", "b=3", "+c.d='x y'", "a=5", "b=choice(1,2)"])
    assert searched == {"b": CategoricalDistribution([1, 2])}
    assert fixed == {"+c.d": "+c.d='x y'", "a": "a=5"}
    assert read_space(["a=choice(1,2)", "++a=5", "~b.c"]) == ({}, {"++a": "++a=5", "~b.c": "~b.c"})


def test_a_grid_lists_every_value_and_an_interval_has_none() -> None:
    searched, _ = read_space(["a=range(0.0,1.0,0.25)", "b=range(2,9,3)", "c=x,y"])
    assert grid_of(searched) == {"a": [0.0, 0.25, 0.5, 0.75], "b": range(2, 9, 3), "c": ("x", "y")}
    with pytest.raises(UserError, match=r"^d: an interval has no grid"):
        grid_of(read_space(["d=interval(0,1)"])[0])


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("a=interval(5,1)", "`low <= high`"),
        ("a=interval(0,inf)", "both ends must be finite"),
        ("a=range(5,1)", "it is empty"),
        ("a=range(1,5,0)", "range.* arg 3 must not be zero"),
        ("a=tag(log,range(1,9,2))", "a logarithmic range has steps of 1"),
    ],
)
def test_what_cannot_be_is_said(override: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"^{re.escape(override)}: cannot be searched \({reason}"):
        read_space([override])


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        ("choice('1',2)", ["1", 2]),
        ("choice(\"it's\",'a,b')", ["it's", "a,b"]),
        ("choice(x:y,a b)", ["x:y", "a b"]),
        ("null,'x y'", [None, "x y"]),
        ("choice([],[1.0,2],{a:1})", [[], [1.0, 2], {"a": 1}]),
        ("choice(true,1e-5)", [True, 1e-5]),
    ],
)
def test_jobs_are_given_what_was_typed(choice: str, values: list[object]) -> None:
    searched, _ = read_space([f"a={choice}"])
    (found,) = searched.values()
    assert isinstance(found, CategoricalDistribution)
    parse = OverridesParser.create().parse_override
    assert [parse(f"a={each}").value() for each in found.choices] == values
