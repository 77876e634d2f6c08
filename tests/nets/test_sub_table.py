"""The table of a sub-network: its plan is the sub-network's, whatever was chosen."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from tests.build import plan_of
from tests.nets.searching import SPACE, largest_of, spec_of, table_of

from shiftaddaug.errors import UserError
from shiftaddaug.nas.space import Choices
from shiftaddaug.nets.cost import count_parameters, total_macs
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.settings import check_net
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.sub_table import sub_table
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.nets.units import renamed

DRAWS = 60


def whole(plan: Plan, **changes: Any) -> SubnetSpec:
    return SubnetSpec(tuple(space.channels for space in plan.spaces), **changes)


def assert_described(table: Mapping[str, Any], plan: Plan, spec: SubnetSpec) -> dict[str, Any]:
    """The table of a sub-network has its plan, under the names that are told, and passes the checks of a net."""
    made, names = sub_table(table, plan, spec)
    part, found = plan.at(spec), plan_net(made, plan.num_classes, plan.in_channels, plan.image_size)
    check_net(made)
    assert made["width_mult"] == 1.0
    assert list(names) == [layer.name for layer in found.layers()]
    assert list(names.values()) == [layer.name for layer in part.layers()]
    units = {part.by_name[old].unit: found.by_name[new].unit for new, old in names.items()}
    assert renamed(part, units) == found
    assert (total_macs(found), count_parameters(found)) == (total_macs(part), count_parameters(part))
    return made


@pytest.mark.parametrize("net", ["mbv2_micro", "mcunet", "mbv2_w035", "proxyless_w035"])
def test_whatever_is_drawn_is_described(net: str) -> None:
    largest = largest_of(net)
    plan = plan_of(largest, side=64)
    drawn = Choices(plan, SPACE, largest["divisor"]).sample(np.random.default_rng(0), DRAWS)
    for row in range(DRAWS):
        assert_described(largest, plan, spec_of(plan, drawn, row))


@pytest.mark.parametrize("net", ["mbv3_w035", "resnet20", "resnet50", "vgg_small", "mbv2_tiny"])
def test_a_whole_net_is_described(net: str) -> None:
    plan = plan_of(net)
    assert assert_described(table_of(net), plan, whole(plan))["name"] == net


def test_gates_keep_their_width_where_the_block_is_narrower() -> None:
    table, generator = table_of("mbv3_w035"), np.random.default_rng(0)
    plan = plan_of(table)
    for _ in range(10):
        channels = tuple(
            int(generator.integers(1, space.channels + 1)) if space.kind != "fixed" or ".se" in space.name
            else space.channels
            for space in plan.spaces
        )  # fmt: skip
        made = assert_described(table, plan, SubnetSpec(channels))
        assert made["divisor"] == 1  # they are no multiples of 8


def test_blocks_may_go_from_the_middle() -> None:
    table = table_of("mbv2_w035")
    plan = plan_of(table)
    assert {"blocks.4", "blocks.7"} <= plan.skippable.keys()
    made, names = sub_table(table, plan, whole(plan, skipped=frozenset({"blocks.4", "blocks.7"})))
    assert [stage["depth"] for stage in made["stages"]] == [1, 2, 2, 3, 3, 3, 1]
    assert names["blocks.4.project.conv"] == "blocks.5.project.conv"
    assert_described(table, plan, whole(plan, skipped=frozenset(plan.skippable)))


def test_what_no_table_says_is_refused() -> None:
    table = table_of("resnet20")
    plan = plan_of(table)
    narrow = tuple(s.channels // 2 if s.name == "blocks.4.hidden" else s.channels for s in plan.spaces)
    with pytest.raises(UserError, match=r"^net=resnet20: no table describes this sub-network: blocks.4.hidden has cha"):
        sub_table(table, plan, SubnetSpec(narrow))
    kernel = whole(plan, kernels=(("blocks.4.conv1.conv", 1),))
    with pytest.raises(UserError, match=r"blocks.4.conv1.conv has kernel=1, and in a table 3$"):
        sub_table(table, plan, kernel)
    stages = [{"block": "basic", "channels": channels} for channels in (8, 16)]
    little = {"name": "little", "divisor": 4, "stem": {"channels": 8}, "stages": stages}
    equal = plan_of(little)
    channels = tuple(8 if space.name.startswith("blocks.1") else space.channels for space in equal.spaces)
    with pytest.raises(UserError, match=r"no table describes this sub-network: it has "):
        sub_table(little, equal, SubnetSpec(channels))


def test_a_gate_may_say_how_wide_it_is() -> None:
    stage = {"block": "inverted_bottleneck", "channels": 8, "expand": 4, "se": [True, 24], "depth": 2}
    table = {"name": "little", "stem": {"channels": 8}, "stages": [stage]}
    check_net(table)
    assert [space.channels for space in plan_of(table).spaces if space.name.endswith(".se")] == [16, 24]
    for wrong in (0, 1.5, "wide"):
        with pytest.raises(UserError, match=r"net\.stages\.0\.se="):
            check_net(table | {"stages": [stage | {"se": wrong}]})
