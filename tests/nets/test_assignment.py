"""Which operator each layer computes with: made from groups and names, written, read, refused."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.build import plan_of

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.nets.assignment import Assignment, assignment_from, select_layers, uniform
from shiftaddaug.nets.plan import Plan
from shiftaddaug.operators.settings import OperatorSettings


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of("mbv3_w035", 10, side=32)


def settings(name: str, **fields: Any) -> OperatorSettings:
    return operators.settings_from({"name": name, **fields})


def mixed(plan: Plan) -> Assignment[OperatorSettings]:
    """Five operators in turn, two of which have one name; the stem multiplies."""
    turns = [
        settings("add"),
        settings("shift"),
        settings("mult"),
        settings("shift", weight_bits=4),
        settings("shift_ps"),
    ]
    names = [layer.name for layer in plan.layers()]
    return Assignment({name: turns[i % 5] if i else settings("mult") for i, name in enumerate(names)})


def read(raw: Mapping[str, Any], plan: Plan) -> Assignment[OperatorSettings]:
    return assignment_from(raw, plan, operators.settings_from)


def test_uniform(plan: Plan) -> None:
    made = uniform(plan, settings("shift"), ["stem", "se"], settings("mult"))
    assert list(made) == [layer.name for layer in plan.layers()]
    assert made.exempt() == select_layers(plan, ["stem", "se"])
    assert made["stem.conv"] == settings("mult") and made["classifier"] == settings("shift")
    assert made.operators() == [settings("mult"), settings("shift")]
    assert (made.multiplication_free(), made.title()) == ([settings("shift")], "shift")
    assert uniform(plan, settings("mult"), [], settings("mult")).title() == "mult"


def test_mixed_ones_name_all_operators(plan: Plan) -> None:
    assert list(mixed(plan).labels()) == ["mult", "shift", "shift.2", "shift_ps", "add"]
    assert mixed(plan).title() == "shift+shift_ps+add"


def test_round_trip(plan: Plan) -> None:
    for made in (mixed(plan), uniform(plan, settings("add", eta=0.2), ["stem"], settings("mult"))):
        again = read(json.loads(json.dumps(made.to_dict())), plan)
        assert again == made
        assert list(again) == list(made)


@pytest.mark.parametrize("damage", ["missing", "twice", "other plan", "no label", "unknown operator", "bad field"])
def test_what_does_not_fit_the_plan_is_refused(plan: Plan, damage: str) -> None:
    raw = mixed(plan).to_dict()
    if damage == "missing":
        raw["layers"]["add"].pop()
    elif damage == "twice":
        raw["layers"]["add"].append("stem.conv")
    elif damage == "other plan":
        raw["layers"]["add"].append("blocks.99.expand.conv")
    elif damage == "no label":
        del raw["operators"]["add"]
    elif damage == "unknown operator":
        raw["operators"]["add"]["name"] = "os"
    else:
        raw["operators"]["add"]["eta"] = -1
    with pytest.raises((KeyError, TypeError, ValueError)):
        read(raw, plan)


def test_select_layers(plan: Plan) -> None:
    assert select_layers(plan, ["stem"]) == {"stem.conv"}
    assert select_layers(plan, ["classifier"]) == {"neck", "classifier"}
    assert select_layers(plan, ["blocks.1.depthwise"]) == {"blocks.1.depthwise.conv"}
    assert len(select_layers(plan, ["se"])) == 2 * 8  # stages of 3, 2 and 3 blocks
    with pytest.raises(UserError, match=r"net\.mult_layers=stm: no such layer in net=mbv3_w035; options: stem, "):
        select_layers(plan, ["stm"])
