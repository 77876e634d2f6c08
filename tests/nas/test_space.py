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
    outside = [i for i, layer in enumerate(plan.layers()) if layer.group != "blocks"]
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
