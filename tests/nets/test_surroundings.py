"""What surrounds a searched net: the widths and the blocks of the deep sub-network that it was found inside of."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.build import SIDE, images, plan_of
from tests.nets.searching import SPACE, deep_and_target, largest_of

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.nas.space import Choices
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.extract import extract_target, max_difference
from shiftaddaug.nets.extras import deepened, plan_extra_blocks
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.reorder import apply, permutations
from shiftaddaug.nets.spec import SubnetSpec, Widening
from shiftaddaug.nets.sub_table import sub_table
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.surroundings import WIDTHS, check_channels, choices, surroundings

NET = "mbv2_w035"


def surrounded(seed: int, net: str = NET) -> tuple[Plan, Plan, Widening]:
    """The plans of a deep sub-network and of a target in it, and the target's widening."""
    largest = largest_of(net)
    plan = plan_of(largest)
    deep, target = deep_and_target(Choices(plan, SPACE, 8), np.random.default_rng(seed))
    table, names = sub_table(largest, plan, target)
    around = surroundings(plan, target, deep, names, 8)
    found = plan_of(table)
    extras = plan_extra_blocks(found, around["extra_blocks"])
    return plan.at(deep), found, Widening(found, extra_blocks=extras, choices=choices(around["channels"], found))


@pytest.mark.parametrize("seed", range(8))
def test_the_widest_of_it_is_the_deep_sub_network(seed: int) -> None:
    deep, target, widening = surrounded(seed)
    widest = dict(zip(widening.index(), widening.max_channels(), strict=True))
    wide = target.at(SubnetSpec(tuple(widest[space.name] for space in target.spaces)))
    assert sorted(s.channels for s in wide.spaces if s.kind == "width") == sorted(
        s.channels for s in deep.spaces if s.kind == "width"
    )
    graph = widening.deepened()
    assert len(graph.units()) == len(deep.units())
    assert [node.size for node in graph.nodes if node.kind == "add"] == [
        node.size for node in deep.nodes if node.kind == "add"
    ]
    assert all(2 <= len(widths) <= WIDTHS for _, widths in widening.choices)


def test_widths_are_drawn_uniformly_and_alone() -> None:
    widening = surrounded(0)[2]
    name, widths = max(widening.choices, key=lambda each: len(each[1]))
    place, generator = widening.index()[name], random.Random(0)
    drawn = [widening.sample(generator).channels[place] for _ in range(1000)]
    assert {*drawn} == {*widths}
    for width in widths:
        assert abs(drawn.count(width) - 1000 / len(widths)) < 60  # more than 4 sigma
    hidden = {space.name for space in widening.spaces if space.kind == "hidden"}
    for width, expand in ((True, False), (False, True), (False, False)):
        for _ in range(20):
            spec = widening.sample(generator, width=width, expand=expand)
            for space, channels in zip(widening.spaces, spec.channels, strict=True):
                assert channels == space.channels or (expand if space.name in hidden else width)


def test_extra_blocks_are_drawn_as_the_blocks_that_they_are_built_as() -> None:
    widening = next(each for each in (surrounded(seed)[2] for seed in range(20)) if each.extra_blocks)
    chosen = dict(widening.choices)
    for extra in widening.extra_blocks:
        for space in extra.spaces:
            model = extra.model + space.name.removeprefix(extra.name)
            assert widening.drawn_from.get(space.name) == chosen.get(model)
            assert widening.index()[space.name] >= len(widening.plan.spaces)


def test_uniform_sub_networks_take_the_widest_that_fits() -> None:
    widening = surrounded(1)[2]
    assert widening.uniform(1.0, 1.0) == widening.target()
    width, expand = widening.largest_multipliers()
    assert max(width, expand) > 1
    spec = widening.uniform(width, expand)
    for space, channels, widest in zip(widening.spaces, spec.channels, widening.max_channels(), strict=True):
        assert channels == widest or space.name not in dict(widening.choices)
    for multiplier in (1.3, 1.7):
        for space, channels in zip(widening.spaces, widening.uniform(multiplier, 1.0).channels, strict=True):
            assert space.channels <= channels <= space.channels * multiplier


def supernet_of(widening: Widening, op: str) -> Supernet:
    torch.manual_seed(0)
    plan, exempt = widening.plan, ["stem", "classifier"]
    extra: dict[str, int] = {}
    for block in widening.extra_blocks:
        extra[block.after] = extra.get(block.after, 0) + 1
    made = assign(plan, operators.build(op), exempt)
    return build_supernet(plan, made, extra_blocks=extra, channels={name: list(w) for name, w in widening.choices})


@pytest.mark.parametrize("op", ["shift", "mult"])
def test_a_supernet_of_it_computes_reorders_and_deploys(op: str) -> None:
    widening = next(each for each in (surrounded(seed)[2] for seed in range(20)) if len(each.extra_blocks) > 2)
    net = supernet_of(widening, op).eval()
    assert net.widening == widening
    x = images()
    assert max_difference(net, extract_target(net).net, x) == 0
    whole = replace(widening.target(), channels=widening.max_channels(), skipped=frozenset(), augmented=True)
    before = net(x, whole)
    apply(permutations(net), net)
    if op == "mult":
        torch.testing.assert_close(net(x, whole), before, rtol=1e-3, atol=1e-4)
    assert max_difference(net, extract_target(net).net, x) == 0


def test_a_stage_of_one_block_is_deepened_by_a_copy_with_a_shortcut() -> None:
    stages = [
        {"block": "inverted_bottleneck", "channels": 8, "expand": 2, "stride": 1},
        {"block": "inverted_bottleneck", "channels": 16, "expand": 3, "stride": 2, "se": True, "kernels": 5},
        {"block": "depthwise_separable", "channels": 24, "stride": 2},
    ]
    plan = plan_of({"name": "little", "stem": {"channels": 8}, "stages": stages})
    with pytest.raises(UserError, match=r"^aug.extra_blocks=1: net=little has no stage that an extra block could"):
        plan_extra_blocks(plan, 1)
    extras = plan_extra_blocks(plan, {"blocks.1": 2, "blocks.2": 1})
    graph = deepened(plan, extras)
    assert list(graph.skippable) == ["extras.0", "extras.1", "extras.2"]
    nodes = graph.by_name
    assert (nodes["extras.0.depthwise.conv"].stride, nodes["extras.0.depthwise.conv"].kernel) == (1, 5)
    assert nodes["extras.0.depthwise.conv"].size == nodes["blocks.1.project.norm"].size == (SIDE // 2, SIDE // 2)
    assert nodes["extras.0.se.reduce"].size == nodes["extras.0.se.act"].size == (1, 1)
    assert nodes["extras.2.depthwise.conv"].space == "blocks.2"
    assert Plan.from_dict(graph.to_dict()) == graph
    net = build_supernet(plan, assign(plan, operators.build("add"), ["stem", "se"]), extra_blocks={"blocks.1": 2})
    assert net(images(), replace(net.target_spec, skipped=frozenset())).shape == (3, 7)


@pytest.mark.parametrize(
    ("channels", "wanted"),
    [
        ({"blocks.9": [8]}, r"^aug.channels.blocks.9: no such space in net=mbv2_micro; "),
        ({"classes": [7, 8]}, r"^aug.channels.classes: no such space"),
        (
            {"stem": [8, 8]},
            r"^aug.channels.stem=\[8,8\]: must be a list of whole numbers that rises from the net's",
        ),
        ({"stem": [16, 24]}, r"^aug.channels.stem=\[16,24\]: must be"),
        ({"stem": 8}, r"^aug.channels.stem=8: must be"),
        ([8], r"^aug.channels=\[8\]: must be widths by space"),
    ],
)
def test_widths_that_are_not_the_nets_are_refused(channels: object, wanted: str) -> None:
    with pytest.raises(UserError, match=wanted):
        check_channels("aug.channels", channels, plan_of("mbv2_micro"))


def test_extra_blocks_that_cannot_be_are_refused() -> None:
    plan = plan_of("mbv3_w035")
    for blocks, wanted in (
        ({"blocks.99": 1}, r"^aug.extra_blocks.blocks.99: no such block in net=mbv3_w035"),
        ({"blocks.1": True}, r"^aug.extra_blocks.blocks.1=true: must be a whole number >= 1"),
    ):
        with pytest.raises(UserError, match=wanted):
            plan_extra_blocks(plan, blocks)


def test_a_deep_sub_network_contains_the_target() -> None:
    largest = largest_of(NET)
    plan = plan_of(largest)
    deep, target = deep_and_target(Choices(plan, SPACE, 8), np.random.default_rng(0))
    names = sub_table(largest, plan, target)[1]
    with pytest.raises(ValueError, match=r"^deep: "):
        surroundings(plan, replace(deep, skipped=frozenset()), replace(target, skipped=deep.skipped), names, 8)
