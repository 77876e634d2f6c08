"""Networks drawn from a space: each is one that a net's table could describe."""

from typing import Any

import numpy as np
import pytest
from tests.build import read_yaml

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hardware.candidates import Pricer
from shiftaddaug.hardware.settings import hardware_from
from shiftaddaug.nas.settings import SpaceSettings, check_space
from shiftaddaug.nas.space import Choices, largest_table
from shiftaddaug.nets.cost import total_macs
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.tables import plan_net

STAGES = [
    {"block": "inverted_bottleneck", "channels": 8, "expand": 2, "stride": 1, "depth": 3},
    {"block": "inverted_bottleneck", "channels": 16, "expand": [3, 4], "stride": 2, "act": "relu"},
]
TABLE: dict[str, Any] = {"name": "little", "divisor": 4, "stem": {"channels": 8}, "stages": STAGES}
DRAWS = 400


def space(**changes: Any) -> SpaceSettings:
    return check_space(read_yaml("space", "micro") | changes)


def largest(chosen: SpaceSettings, width_mult: float = 1.0) -> Plan:
    return plan_net(largest_table(TABLE, chosen, width_mult), 5, 3, 16)


def test_the_largest_network_has_the_largest_of_everything() -> None:
    table = largest_table(TABLE, space(), 0.5)
    assert table["width_mult"] == 0.5
    assert [(s["kernels"], s["expand"], s["depth"]) for s in table["stages"]] == [(5, 6, 3), (5, 6, 2)]
    kept = {"block": "basic", "channels": 4}
    assert largest_table(TABLE | {"stages": [kept, STAGES[0]]}, space(), 1.0)["stages"][0] == kept


def test_a_table_without_a_choice_is_refused() -> None:
    with pytest.raises(UserError, match=r"^space=micro: net=little has no stage with expand"):
        largest_table(TABLE | {"stages": [{"block": "basic", "channels": 4}]}, space(), 1.0)


@pytest.mark.parametrize("least_depth", [1, 2])
def test_every_choice_is_drawn_and_no_other(least_depth: int) -> None:
    chosen = space(least_depth=least_depth)
    plan = largest(chosen)
    drawn = Choices(plan, chosen, 4).sample(np.random.default_rng(0), DRAWS)
    index, channels = plan.index(), drawn.channels
    streams = [s for s in plan.spaces if s.kind == "width" and s.name.startswith("blocks")]
    for stream in streams:
        shares = {4 * max(1, round(stream.channels * share / 4)) for share in (0.5, 0.75, 1.0)}
        assert {*channels[:, index[stream.name]].tolist()} == shares
    for hidden in (s for s in plan.spaces if s.kind == "hidden"):
        ratios = channels[:, index[hidden.name]] / channels[:, index[hidden.parent]]
        assert {*ratios.tolist()} == {2.0, 4.0, 6.0}
    depthwise = [i for i, layer in enumerate(plan.layers()) if layer.depthwise]
    assert {*drawn.kernels[:, depthwise].ravel().tolist()} == {3, 5}
    others = [i for i in range(len(plan.layers())) if i not in depthwise]
    assert (drawn.kernels[:, others] == [plan.layers()[i].kernel for i in others]).all()
    assert {*drawn.operators.ravel().tolist()} == {0, 1, 2}
    outside = [i for i, layer in enumerate(plan.layers()) if layer.group in ("stem", "classifier")]
    assert len(outside) == 2
    assert not drawn.operators[:, outside].any()


@pytest.mark.parametrize(("least_depth", "depths"), [(1, {0, 1, 2}), (2, {0, 1}), (3, {0})])
def test_stages_lose_their_last_blocks(least_depth: int, depths: set[int]) -> None:
    chosen = space(least_depth=least_depth)
    plan = largest(chosen)
    assert list(plan.skippable) == ["blocks.1", "blocks.2", "blocks.4"]
    skipped = Choices(plan, chosen, 4).sample(np.random.default_rng(0), DRAWS).skipped
    assert {*skipped[:, :2].sum(1).tolist()} == depths
    assert not (skipped[:, 0] & ~skipped[:, 1]).any()
    assert skipped[:, 2].any() == (least_depth == 1)


def test_what_is_drawn_is_priced_as_its_own_plan() -> None:
    chosen = space()
    plan = largest(chosen)
    drawn = Choices(plan, chosen, 4).sample(np.random.default_rng(1), 20)
    mult = operators.settings_from({"name": "mult"})
    drawn.operators[:] = 0
    costs = Pricer(plan, [mult], hardware_from(read_yaml("hardware", "stm32f412"))).price(drawn)
    names = [layer.name for layer in plan.layers()]
    for i in range(len(drawn)):
        kernels = {
            n: int(k) for n, k, layer in zip(names, drawn.kernels[i], plan.layers(), strict=True) if layer.depthwise
        }
        lost = frozenset(u for u, gone in zip(plan.skippable, drawn.skipped[i], strict=True) if gone)
        kernels = {n: k for n, k in kernels.items() if plan.by_name[n].unit not in lost}
        spec = SubnetSpec(tuple(map(int, drawn.channels[i])), kernels=tuple(kernels.items()), skipped=lost)
        assert costs["macs"][i] == total_macs(plan.at(spec))


def test_the_same_seed_draws_the_same() -> None:
    choices = Choices(largest(space()), space(), 4)
    one, same, other = (choices.sample(np.random.default_rng(seed), 50) for seed in (3, 3, 4))
    assert (one.channels == same.channels).all() and (one.skipped == same.skipped).all()
    assert (one.channels != other.channels).any()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kernels", [2], r"space\.kernels=\[2\]: must be a list of odd numbers"),
        ("widths", [1.5], r"space\.widths=\[1\.5\]: must be a list of shares"),
        ("image_sizes", [], r"space\.image_sizes=\[\]: must be a list of sides"),
        ("expand_ratios", [2, 2], r"space\.expand_ratios=\[2,2\]: names one twice"),
        ("least_depth", 0, r"space\.least_depth=0: must be a whole number"),
        ("depths", [1], r"space\.depths=.*no such key"),
    ],
)
def test_mistakes(key: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        space(**{key: value})


def test_points_are_what_is_priced() -> None:
    chosen, plan = space(), largest(space())
    choices = Choices(plan, chosen, 4)
    small, large = choices.of([choices.smallest(), choices.largest()]).channels
    assert (large == [each.channels for each in plan.spaces]).all()
    by_hand = {"image": 3, "stem": 4, "blocks.0.hidden": 8, "blocks.0": 4, "blocks.3.hidden": 8, "blocks.3": 8}
    found = dict(zip(plan.index(), small.tolist(), strict=True))
    assert {name: found[name] for name in by_hand} == by_hand
    lost = choices.of([choices.smallest()]).skipped[0]
    assert lost.all() and len(lost) == 3


def test_a_point_is_a_pass_of_the_supernet() -> None:
    choices = Choices(largest(space()), space(), 4)
    point = {**choices.largest(), "kernel.blocks.1": 3, "depth.blocks.0": 2, "operator.blocks.0.expand.conv": "shift"}
    point["operator.blocks.2.expand.conv"] = "add"  # of a block that is left out
    spec = choices.spec(point)
    assert spec.kernels == (("blocks.1.depthwise.conv", 3),)
    assert spec.skipped == {"blocks.2"}
    assert spec.operators == (("blocks.0.expand.conv", "shift"),)
    assert choices.spec(point, operates=False).operators == ()


def test_nothing_within_a_network_is_larger_in_any_choice() -> None:
    plan, chosen = largest(space()), space()
    whole = Choices(plan, chosen, 4)
    deep = {**whole.largest(), "kernel.blocks.1": 3, "expand.blocks.0": 4, "width.blocks.0": 0.75}
    inside = Choices(plan, chosen, 4, within=deep)
    assert inside.parameters["kernel.blocks.1"] == (3,)
    assert inside.parameters["expand.blocks.0"] == (2, 4)
    assert inside.parameters["width.blocks.0"] == (0.5, 0.75)
    assert inside.parameters["operator.blocks.0.expand.conv"] == ("mult", "shift", "add")
    most = whole.of([deep])
    drawn = inside.sample(np.random.default_rng(0), DRAWS)
    assert (drawn.channels <= most.channels).all() and (drawn.kernels <= most.kernels).all()


def test_layers_multiply_where_the_space_says_so_whatever_its_first_operator() -> None:
    chosen = space(operators=["shift", "add"], mult_layers=["stem", "head", "blocks.0.expand", "classifier"])
    plan = largest(chosen)
    choices = Choices(plan, chosen, 4)
    assert choices.operators == ("mult", "shift", "add")
    places = [layer.name for layer in plan.layers()]
    drawn = choices.sample(np.random.default_rng(0), 50).operators
    for name in ("stem.conv", "blocks.0.expand.conv", "classifier"):
        assert not drawn[:, places.index(name)].any()
    assert {*drawn[:, places.index("blocks.0.project.conv")].tolist()} == {1, 2}
