"""Schedules by value: who multiplies and which extra blocks are active, as pure functions of the share of training."""

from dataclasses import replace
from typing import Any

import pytest
from tests.build import KINDS, plan_of

from shiftaddaug.errors import UserError
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.timetable import Conversion, Retirement, slots_over

LITTLE: dict[str, Any] = {
    "name": "little",
    "stem": {"channels": 8},
    "stages": [{"block": "depthwise_separable", "channels": 8}, {"block": "basic", "channels": 16}],
}
STEM, DEPTHWISE, PROJECT = "stem.conv", "blocks.0.depthwise.conv", "blocks.0.project.conv"
FIRST, SECOND, SHORTCUT = "blocks.1.conv1.conv", "blocks.1.conv2.conv", "blocks.1.downsample.conv"
ALL = [STEM, DEPTHWISE, PROJECT, FIRST, SECOND, SHORTCUT, "classifier"]


@pytest.fixture(scope="module")
def little() -> Plan:
    return plan_of(LITTLE)


@pytest.mark.parametrize(
    ("progress", "wanted"),
    [
        (0.0, (0, 0.0)),
        (0.2, (0, 0.0)),
        (0.25, (0, 0.5)),
        (0.3, (1, 0.0)),
        (0.45, (2, 0.5)),
        (0.6, (4, 0.0)),
        (1.0, (4, 0.0)),
    ],
)
def test_slots_are_equal_shares_of_start_to_end(progress: float, wanted: tuple[int, float]) -> None:
    over, passed = slots_over(4, 0.2, 0.6, progress)
    assert (over, passed) == (wanted[0], pytest.approx(wanted[1], abs=1e-12))


@pytest.mark.parametrize("units", [1, 3, 7, 29, 53, 100])
def test_quotients_meet_the_ends_of_slots(units: int) -> None:
    assert [slots_over(units, 0.0, 1.0, (i + 1) / units) for i in range(units)] == [(i + 1, 0.0) for i in range(units)]


def test_start_and_end_in_one_point_turn_everything_there() -> None:
    assert [slots_over(3, 0.5, 0.5, p) for p in (0.0, 0.499, 0.5, 1.0)] == [(0, 0.0), (0, 0.0), (3, 0.0), (3, 0.0)]
    assert slots_over(3, 0.0, 0.0, 0.0) == (3, 0.0)
    assert slots_over(0, 0.0, 1.0, 0.5) == (0, 0.0)


class TestConversion:
    @pytest.mark.parametrize(
        ("order", "granularity", "wanted"),
        [
            ("shallow_to_deep", "layer", [[name] for name in ALL[1:]]),
            ("deep_to_shallow", "layer", [[name] for name in ALL[:0:-1]]),
            ("shallow_to_deep", "block", [[DEPTHWISE, PROJECT], [FIRST, SECOND, SHORTCUT], ["classifier"]]),
            ("deep_to_shallow", "block", [["classifier"], [FIRST, SECOND, SHORTCUT], [DEPTHWISE, PROJECT]]),
        ],
    )
    def test_the_order_of_turning(self, little: Plan, order: str, granularity: str, wanted: list[list[str]]) -> None:
        units = Conversion(order=order, granularity=granularity).units(little, ["stem"])
        assert [list(unit) for unit in units] == wanted

    def test_hard_switches_by_value(self, little: Plan) -> None:
        conversion = Conversion(start=0.2, end=0.8)  # slots of 0.1, six layers
        remaining = [
            [name for name in ALL if name in conversion.schedule(little, ["stem"], i / 20)[0]] for i in range(21)
        ]
        turned = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6, 6, 6]
        assert remaining == [ALL[1 + count :] for count in turned]
        assert all(conversion.schedule(little, ["stem"], i / 20)[1] == () for i in range(21))

    def test_blends_by_value(self, little: Plan) -> None:
        conversion = Conversion(start=0.0, end=0.5, granularity="block", blend=True)  # three units, the stem exempt
        blocks = [(DEPTHWISE, PROJECT), (FIRST, SECOND, SHORTCUT), ("classifier",)]
        for i, unit in enumerate(blocks):
            for share in (0.25, 0.5, 0.75):
                multiplied, blends = conversion.schedule(little, ["stem"], (i + share) / 6)
                assert multiplied == {name for later in blocks[i + 1 :] for name in later}
                assert blends == tuple((name, pytest.approx(share)) for name in unit)
        assert conversion.schedule(little, ["stem"], 1 / 6) == (frozenset(ALL[3:]), ())

    @pytest.mark.parametrize("net", KINDS)
    @pytest.mark.parametrize(
        ("order", "granularity", "blend"),
        [("shallow_to_deep", "layer", True), ("deep_to_shallow", "block", True), ("deep_to_shallow", "layer", False)],
    )
    def test_every_net_turns_monotonously_and_wholly(self, net: str, order: str, granularity: str, blend: bool) -> None:
        plan = plan_of(net)
        conversion = Conversion(0.1, 0.9, order, granularity, blend)
        free = [layer.name for layer in plan.layers() if layer.group != "stem"]
        assert sorted(name for unit in conversion.units(plan, ["stem"]) for name in unit) == sorted(free)
        last = dict.fromkeys(free, 0.0)
        for i in range(0, 201, 4):
            multiplied, blends = conversion.schedule(plan, ["stem"], i / 200)
            assert multiplied.isdisjoint(name for name, _ in blends)
            assert all(0 < share < 1 for _, share in blends)
            share = {name: 0.0 if name in multiplied else dict(blends).get(name, 1.0) for name in free}
            assert multiplied <= share.keys()
            assert all(share[name] >= last[name] for name in free)
            last = share
        assert conversion.schedule(plan, ["stem"], 0.0) == (frozenset(free), ())
        assert conversion.schedule(plan, ["stem"], 0.9) == (frozenset(), ())
        assert set(last.values()) == {1.0}

    def test_layers_may_be_exempted_by_name(self, little: Plan) -> None:
        by_name = [layer.name for layer in little.layers() if layer.group == "blocks"]
        conversion = Conversion(0.0, 1.0)
        assert conversion.schedule(little, by_name, 0.0) == conversion.schedule(little, ["blocks"], 0.0)
        assert conversion.schedule(little, by_name, 0.0)[0] == {STEM, "classifier"}

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"end": 1.5}, r"callbacks.block_variant.end=1.5: must be a number >= 0 and <= 1"),
            ({"start": -0.1}, r"callbacks.block_variant.start=-0.1: must be a number >= 0 and <= 1"),
            ({"start": True}, r"callbacks.block_variant.start=true: must be a number >= 0 and <= 1"),
            ({"end": float("nan")}, r"callbacks.block_variant.end=nan: must be a number >= 0 and <= 1"),
            ({"end": "half"}, r"callbacks.block_variant.end=half: must be a number >= 0 and <= 1"),
            ({"start": 0.6, "end": 0.5}, r"start=0.6: must not be after callbacks.block_variant.end=0.5"),
            ({"order": "random"}, r"block_variant.order=random: no such option; options: shallow_to_deep, deep_to"),
            ({"granularity": "net"}, r"block_variant.granularity=net: no such option; options: layer, block"),
            ({"blend": "yes"}, r"block_variant.blend=yes: must be true or false"),
        ],
    )
    def test_bad_settings_are_one_line(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            Conversion(**settings)
        assert "\n" not in str(caught.value)


class TestRetirement:
    EXTRAS = ("extras.0", "extras.1", "extras.2")

    def test_fading_by_value(self) -> None:
        retirement = Retirement(0.2, 0.8)  # slots of 0.2
        full = [(name, 1.0) for name in self.EXTRAS]
        table = {
            0.0: full,
            0.2: full,
            0.25: [*full[:2], ("extras.2", 0.75)],
            0.4: full[:2],
            0.5: [full[0], ("extras.1", 0.5)],
            0.6: full[:1],
            0.75: [("extras.0", 0.25)],
            0.8: [],
            1.0: [],
        }
        for progress, wanted in table.items():
            depth = retirement.schedule(self.EXTRAS, progress)
            assert [name for name, _ in depth] == [name for name, _ in wanted]
            assert [factor for _, factor in depth] == pytest.approx([factor for _, factor in wanted])

    def test_a_hard_cut_comes_at_the_end_of_the_slot(self) -> None:
        retirement = Retirement(0.2, 0.8, fade=False)
        counts = [len(retirement.schedule(self.EXTRAS, i / 20)) for i in range(21)]
        assert counts == [3] * 8 + [2] * 4 + [1] * 4 + [0] * 5
        assert all(f == 1 for i in range(21) for _, f in retirement.schedule(self.EXTRAS, i / 20))

    @pytest.mark.parametrize("fade", [False, True])
    @pytest.mark.parametrize("count", [0, 1, 2, 5])
    def test_factors_only_fall_and_end_at_nothing(self, count: int, fade: bool) -> None:
        extras = [f"extras.{i}" for i in range(count)]
        retirement, last = Retirement(0.1, 0.7, fade), dict.fromkeys(extras, 1.0)
        for i in range(101):
            now = dict.fromkeys(extras, 0.0) | dict(retirement.schedule(extras, i / 100))
            assert all(now[name] <= last[name] for name in extras)
            assert list(now.values()) == sorted(now.values(), reverse=True)  # the deepest first
            last = now
        assert retirement.schedule(extras, 0.7) == ()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"end": 1.01}, r"callbacks.retire_depth.end=1.01: must be a number >= 0 and <= 1"),
            ({"start": 0.9}, r"callbacks.retire_depth.start=0.9: must not be after callbacks.retire_depth.end=0.75"),
            ({"fade": 1}, r"callbacks.retire_depth.fade=1: must be true or false"),
        ],
    )
    def test_bad_settings_are_one_line(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            replace(Retirement(), **settings)
