"""Plans as data: what they say of themselves, and what a stored one may not be."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.build import NETS, plan_of

from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.writer import Writer


def little() -> Plan:
    """Two branches of one stem, concatenated by the layer that reads them; a gate; a sum."""
    writer = Writer(3, (12, 20))
    stem, gate = writer.space("stem", 4, "width"), writer.space("gate", 2, "fixed")
    with writer.part("stem"):
        x = writer.level(writer.conv_norm_act("stem", "image", out=stem, kernel=3, stride=2, act="relu"))
    with writer.part("blocks", "blocks.0"):
        y = writer.squeeze_excite("blocks.0.se", writer.conv_norm_act("blocks.0.main", x, out=stem), gate)
        z = writer.conv_norm_act("blocks.0.side", x, out=writer.space("side", 6, "width"))
        joined = writer.conv_norm_act("blocks.0.join", y, z, out=stem)
        x = writer.level(writer.add("blocks.0.add", x, joined))
    with writer.part("classifier"):
        y = writer.linear("classifier", writer.pool("pool", x), out=writer.space("classes", 5, "fixed"))
    return writer.plan("little", {"logits": y, "features": x})


def test_what_a_plan_says_of_itself() -> None:
    plan = little()
    assert (plan.num_classes, plan.in_channels, plan.image_size, plan.total_stride) == (5, 3, (12, 20), 2)
    assert plan.channels() == {"image": 3, "stem": 4, "gate": 2, "side": 6, "classes": 5}
    assert plan.index() == {"image": 0, "stem": 1, "gate": 2, "side": 3, "classes": 4}
    assert [layer.name for layer in plan.layers()] == [
        *("stem.conv", "blocks.0.main.conv", "blocks.0.se.reduce", "blocks.0.se.expand", "blocks.0.side.conv"),
        *("blocks.0.join.conv", "classifier"),
    ]
    assert plan.sources(plan.by_name["blocks.0.join.conv"]) == ("stem", "side")
    assert list(plan.units()) == ["blocks.0"]
    assert plan.outputs == (("logits", "classifier"), ("features", "blocks.0.add"))
    assert [(level.stride, level.node, level.space) for level in plan.levels] == [(2, "blocks.0.add", "stem")]
    assert plan.by_name["stem.conv"].size == (6, 10)
    assert plan.strides()["blocks.0.se.gate"] == 2 and plan.strides()["pool"] == 0


def test_a_blocks_gates_are_registered_after_its_other_layers() -> None:
    """As they were when a block was a module: optimiser state goes by position, and draws by order."""
    names = [name.removeprefix("blocks.0.") for name in little().registered if name.startswith("blocks.0")]
    assert names == [
        *("main.conv", "main.norm", "side.conv", "side.norm", "join.conv", "join.norm", "se.reduce", "se.expand")
    ]


class TestLastUses:
    def test_every_value_but_those_wanted_is_dropped_after_its_last_reader(self) -> None:
        plan = little()
        steps = plan.last_uses()
        assert [node for node, _ in steps] == list(plan.nodes)
        dropped: set[str] = set()
        for node, over in steps:
            assert dropped.isdisjoint(node.inputs)
            dropped |= set(over)
            assert all(name == node.name or name in node.inputs for name in over)
        assert dropped == {node.name for node in plan.nodes} - {"classifier", "blocks.0.add"}

    def test_nothing_is_computed_that_nobody_wants(self) -> None:
        names = [node.name for node, _ in little().last_uses(["blocks.0.side.norm"])]
        assert names == [
            *("image", "stem.conv", "stem.norm", "stem.act", "blocks.0.side.conv", "blocks.0.side.norm"),
        ]


class TestStored:
    @pytest.mark.parametrize("net", NETS)
    def test_round_trip_through_json(self, net: str) -> None:
        for plan in (plan_of(net), plan_of(net, side=(64, 96))):
            assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan

    def test_round_trip_of_several_sources_and_outputs(self) -> None:
        plan = little()
        assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
        assert plan.to_dict()["registered"] == list(plan.registered)  # not the order of execution

    def test_fields_with_their_default_are_left_out(self) -> None:
        raw = plan_of("mbv2_micro", side=32).to_dict()
        assert "registered" not in raw
        assert raw["nodes"][0] == {
            "name": "image", "kind": "image", "inputs": [], "space": "image", "size": [32, 32],
        }  # fmt: skip
        assert raw["nodes"][1] == {
            "name": "stem.conv", "kind": "conv", "inputs": ["image"], "space": "stem", "size": [32, 32], "kernel": 3,
            "group": "stem",
        }  # fmt: skip
        assert raw["spaces"][1] == {"name": "stem", "channels": 8, "kind": "width"}
        assert raw["outputs"] == {"logits": "classifier"}

    @pytest.mark.parametrize(
        "damage",
        [
            lambda raw: raw.pop("nodes"),
            lambda raw: raw.pop("outputs"),
            lambda raw: raw.update(nodes=3),
            lambda raw: raw.update(nodes=["conv"]),
            lambda raw: raw.update(nodes=[]),
            lambda raw: raw.update(name=3),
            lambda raw: raw.update(image_size=[12]),
            lambda raw: raw.update(image_size=[12, 21]),
            lambda raw: raw.update(image_size=[0, 20]),
            lambda raw: raw.update(outputs={}),
            lambda raw: raw.update(outputs=["classifier"]),
            lambda raw: raw.update(outputs={"logits": "nobody"}),
            lambda raw: raw.update(outputs={"logits": ["classifier"]}),
            lambda raw: raw.update(levels=[{"stride": 2, "node": "nobody", "space": "stem"}]),
            lambda raw: raw.update(levels=[{"stride": 2, "node": "stem.conv", "space": "side"}]),
            lambda raw: raw.update(levels=[{"stride": "2", "node": "stem.conv", "space": "stem"}]),
            lambda raw: raw.update(registered=raw["registered"][1:]),
            lambda raw: raw.update(registered=[*raw["registered"], "stem.conv"]),
            lambda raw: raw.update(registered=[3]),
            lambda raw: raw["nodes"].reverse(),
            lambda raw: raw["nodes"].append(raw["nodes"][1]),
            lambda raw: raw["nodes"].append(raw["nodes"][0] | {"name": "image2"}),
            lambda raw: raw["spaces"].append(raw["spaces"][0]),
            lambda raw: raw["spaces"][1].update(channels=0),
            lambda raw: raw["spaces"][1].update(channels="4"),
            lambda raw: raw["spaces"][1].update(channels=True),
            lambda raw: raw["spaces"][1].update(kind="wide"),
            lambda raw: raw["spaces"][1].update(parent="nobody"),
            lambda raw: raw["spaces"][1].update(colour="red"),
            lambda raw: raw["nodes"][1].update(colour="red"),
            lambda raw: raw["nodes"][1].update(kind="exec"),
            lambda raw: raw["nodes"][1].update(kind=["conv"]),
            lambda raw: raw["nodes"][1].update(name="stem..conv"),
            lambda raw: raw["nodes"][1].update(name=""),
            lambda raw: raw["nodes"][1].update(name=1),
            lambda raw: raw["nodes"][1].update(inputs=["classifier"]),
            lambda raw: raw["nodes"][1].update(inputs=[]),
            lambda raw: raw["nodes"][1].update(inputs="image"),
            lambda raw: raw["nodes"][1].update(inputs=[{}]),
            lambda raw: raw["nodes"][1].update(space="nobody"),
            lambda raw: raw["nodes"][1].update(size=[6, 11]),
            lambda raw: raw["nodes"][1].update(size=6),
            lambda raw: raw["nodes"][1].update(kernel=2),
            lambda raw: raw["nodes"][1].update(stride=0),
            lambda raw: raw["nodes"][1].update(stride=2.0),
            lambda raw: raw["nodes"][1].update(dilation=-1),
            lambda raw: raw["nodes"][1].update(depthwise="yes"),
            lambda raw: raw["nodes"][1].update(depthwise=True),
            lambda raw: raw["nodes"][1].update(group=None),
            lambda raw: raw["nodes"][2].update(space="side"),
            lambda raw: raw["nodes"][2].update(stride=2),
            lambda raw: raw["nodes"][3].update(act="exec"),
            lambda raw: raw["nodes"][3].update(act=""),
        ],
    )
    def test_what_no_plan_wrote_is_refused(self, damage: Callable[[dict[str, Any]], object]) -> None:
        raw = copy.deepcopy(little().to_dict())
        damage(raw)
        with pytest.raises((KeyError, TypeError, ValueError)):
            Plan.from_dict(raw)
