"""Values outside of what an annotation says are refused in words made of the annotation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from msgspec import Meta

from shiftaddaug import settings
from shiftaddaug.errors import UserError
from shiftaddaug.runs.eval_settings import SubnetSettings as EvalSubnet
from shiftaddaug.settings import (
    ODD,
    CheckpointPath,
    Count,
    Granularity,
    InnerShare,
    NonNegativeNumber,
    Number,
    Order,
    PathName,
    PluginNames,
    PositiveInt,
    PositiveNumber,
    Scale,
    Seed,
    Share,
    ShareBelowOne,
    Tags,
    Weight,
    allows,
    check,
    check_fields,
    check_group,
    checked,
    options_near,
    shown,
)

NAN, INF = math.nan, math.inf
Odd = Annotated[int, Meta(ge=1, le=63, extra=ODD)]
Shares = Annotated[list[Share], Meta(min_length=1)]

ALLOWED: list[tuple[Any, list[Any], list[Any]]] = [
    (PositiveInt, [1, 2**31 - 1], [0, -1, 2**31, 1.0, 1.5, True, "1", None, NAN, [1]]),
    (Count, [0, 7], [-1, 0.0, False, "0", None]),
    (Seed, [0, 2**32 - 1], [-1, 2**32, 1.5, True, "x", None]),
    (Number, [-1, 0.5, 1e300], [NAN, INF, -INF, True, "0.5", None]),
    (PositiveNumber, [1, 1e-9], [0, -0.0, -1, NAN, INF, True, "1", None]),
    (NonNegativeNumber, [0, 0.0, 3], [-1e-9, NAN, INF, False, "0", None]),
    (Share, [0, 1, 0.5], [-0.1, 1.1, NAN, INF, True, "half", None]),
    (InnerShare, [0.5, 1e-9], [0, 1, NAN, True, None]),
    (ShareBelowOne, [0, 0.5], [1, -0.1, NAN]),
    (Weight, [0, 1e6], [-1, 1e7, NAN]),
    (Scale, [1e-6, 8, 1e6], [0, 1e-7, 1e7]),
    (PathName, ["a", "/a b"], ["", 7, None, True]),
    (CheckpointPath, ["a.ckpt", 7], ["", None, 1.5]),
    (PluginNames, [[], ["a", "b"]], ["a", None, [1], [None]]),
    (Tags, [[], ["a b"]], ["a", None, [1]]),
    (Order, ["shallow_to_deep"], ["shallow", None, 0]),
    (Granularity, ["layer", "block"], ["net", None]),
    (bool, [True, False], [0, 1, "yes", None]),
    (str, ["", "a"], [1, True, None]),
    (int, [0, -5], [0.0, True, "1", None]),
    (float, [0, 1.5, NAN, INF], [True, "1", None]),
    (Any, [None, 1, "a", [], {}], []),
    (Odd, [1, 63], [0, 2, -1, 65, 3.0, True]),
    (list[Odd], [[], [3, 5]], [[3, 4], 3, None]),
    (Shares, [[0, 0.5], (1,)], [[], [2], [NAN], 0.5, "0.5"]),
    (Sequence[int], [[1], (1, 2)], [["a"], 1, "1"]),
    (tuple[float, float], [[1, 2], (0.5, 1)], [[1], [1, 2, 3], "ab"]),
    (dict[str, Any], [{}, {"a": [1]}], [[], None, "a"]),
    (Optional[int], [None, 1], ["", 1.5]),  # noqa: UP045
    (PositiveInt | None, [None, 1], [0, False]),
    (PositiveInt | Literal[-1, "auto"] | list[int], [1, -1, "auto", [0, 1]], [0, -2, "foo", [0.5], None]),
    (Count | Share, [0, 7, 0.5], [-1, 1.5, NAN]),
    (Union[str, Path, None], ["a", None], []),  # noqa: UP007
    (Literal["a", 1], ["a", 1], ["b", 2, None]),
]


@pytest.mark.parametrize(("annotation", "good", "bad"), ALLOWED, ids=lambda part: str(part)[:60])
def test_what_an_annotation_allows(annotation: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not allows(annotation, value)] == []
    assert [value for value in bad if allows(annotation, value)] == []


def test_every_alias_of_the_module_is_tried() -> None:
    aliases = [name for name, value in vars(settings).items() if name[0].isupper() and hasattr(value, "__metadata__")]
    tried = [id(annotation) for annotation, _, _ in ALLOWED]
    assert [name for name in aliases if id(getattr(settings, name)) not in tried] == []


def test_a_class_allows_its_instances() -> None:
    assert allows(Path | None, Path()) and allows(Path | None, None)
    assert not allows(Path | None, 5)


@pytest.mark.parametrize(
    ("annotation", "value", "line"),
    [
        (PositiveInt, 0, "k=0: must be a whole number >= 1"),
        (Seed, None, "k=null: must be a whole number >= 0 and <= 4294967295"),
        (PositiveNumber, NAN, "k=nan: must be a number > 0"),
        (Share, True, "k=true: must be a number >= 0 and <= 1"),
        (Annotated[float, Meta(le=0.25)], 1, "k=1: must be a number <= 0.25"),
        (Odd, 2, "k=2: must be an odd number >= 1 and <= 63"),
        (Odd | list[Odd], [4], "k=[4]: must be an odd number >= 1 and <= 63 or a list of odd numbers >= 1 and <= 63"),
        (list[Share], [0.5, 2], "k=[0.5,2]: must be a list of numbers >= 0 and <= 1"),
        (list[str], None, "k=null: must be a list of words"),
        (bool, "yes", "k=yes: must be true or false"),
        (int | None, "a", "k=a: must be a whole number or null"),
        (None | str, 1, "k=1: must be a word or null"),
        (Literal["a", "b"], "c", "k=c: no such option; options: a, b"),
        (PositiveInt, 2**31, "k=2147483648: must be a whole number >= 1, at most 2147483647"),
        (Count | None, 10**30, f"k={10**30}: must be a whole number >= 0 or null, at most 2147483647"),
        (Path | str, 1, "k=1: must be a path or a word"),
        (Literal["a"] | None, "c", "k=c: no such option; options: a, null"),
        (Literal["auto"] | PositiveInt, 0, "k=0: must be auto or a whole number >= 1"),
        (dict[str, Any], 1, "k=1: must be a group of keys"),
        (list[dict[str, Any]], {"a": None}, "k={a: null}: must be a list of groups of keys"),
        (list[bool], [1], "k=[1]: must be a list of true or false"),
        (PathName, "", "k=: must be a path"),
        (PathName | None, 1, "k=1: must be a path or null"),
        (PluginNames, "a", "k=a: must be a list of importable packages, such as [my_operators]"),
    ],
)
def test_the_line(annotation: Any, value: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        check("k", value, annotation)
    assert str(caught.value) == line


def test_values_are_shown_as_they_are_typed() -> None:
    assert [*map(shown, (None, True, [1, "a", None], {"a": [False]}, 0.5))] == [
        *("null", "true", "[1,a,null]", "{a: [false]}", "0.5")
    ]


def test_near_options_come_first() -> None:
    assert options_near("lrr", ["lr", "min_lr"], "optim.") == "did you mean optim.lr? options: optim.lr, optim.min_lr"
    assert options_near("x", ["lr"]) == "options: lr"


class Thing:
    """Something that a configuration names."""

    @checked("callbacks.thing")
    def __init__(self, every: PositiveInt = 1, *, until: Share = 1.0, other: Any = None, untyped=None) -> None:  # type: ignore[no-untyped-def]
        self.given = every, until, other, untyped


def test_checked_arguments() -> None:
    assert Thing(2, until=0.5, other=[], untyped="x").given == (2, 0.5, [], "x")
    with pytest.raises(UserError, match=r"^callbacks\.thing\.every=0: must be a whole number >= 1$"):
        Thing(0)
    with pytest.raises(UserError, match=r"^callbacks\.thing\.until=2: must be a number >= 0 and <= 1$"):
        Thing(until=2)
    with pytest.raises(TypeError):
        Thing(nothing=1)  # type: ignore[call-arg]


@dataclass(frozen=True)
class Group:
    """Keys of a group."""

    lr: PositiveNumber
    name: str = "a"
    milestones: list[Share] = ()  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_fields("group", self)


def test_fields() -> None:
    assert Group(1.0, milestones=[0.5]).name == "a"
    with pytest.raises(UserError, match=r"^group\.milestones=\[2\]: must be a list of numbers >= 0 and <= 1$"):
        Group(1.0, milestones=[2])


@pytest.mark.parametrize(
    ("key", "values", "line"),
    [
        ("g", {"lr": 0}, "g.lr=0: must be a number > 0"),
        ("", {"lr": 0}, "lr=0: must be a number > 0"),
        ("g", {}, "g.lr: is missing; must be a number > 0"),
        ("g", {"lr": 1, "nam": 2}, "g.nam=2: no such key; did you mean g.name? options: g.lr, g.name, g.milestones"),
        ("", {"lr": 1, "q": None}, "q=null: no such key; options: lr, name, milestones"),
    ],
)
def test_groups(key: str, values: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        check_group(key, values, Group)
    assert str(caught.value) == line


def test_groups_with_more_keys() -> None:
    check_group("g", {"lr": 1, "other": object()}, Group, more=["other"])


def test_a_group_is_a_group() -> None:
    with pytest.raises(UserError, match=r"^subnet=null: must be a group of keys$"):
        check_group("subnet", None, EvalSubnet)  # type: ignore[arg-type]
