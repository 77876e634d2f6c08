"""Which blocks can be skipped, and copies of blocks put into a plan."""

from collections.abc import Callable

import pytest

from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.units import Ends, ends, insert_copy, last_act, last_norm
from shiftaddaug.nets.writer import Writer

Write = Callable[[Writer, str, str], str]


def branch(writer: Writer, value: str) -> str:
    hidden = writer.space("u.hidden", 6, "hidden", "a")
    return writer.conv_norm_act("u.out", writer.conv_norm_act("u.in", value, out=hidden, act="relu"), out="a")


def residual(writer: Writer, x: str, other: str) -> str:
    return writer.add("u.add", x, branch(writer, x))


def residual_act(writer: Writer, x: str, other: str) -> str:
    return writer.act("u.act", residual(writer, x, other), "relu")


def turned(writer: Writer, x: str, other: str) -> str:
    return writer.add("u.add", branch(writer, x), x)


def two_readers(writer: Writer, x: str, other: str) -> str:
    return writer.add("u.add", x, writer.add("u.sum", branch(writer, x), other))


def sequence(writer: Writer, x: str, other: str) -> str:
    return branch(writer, x)


def shortcut_conv(writer: Writer, x: str, other: str) -> str:
    return writer.add("u.add", writer.conv_norm_act("u.short", x, out="a"), branch(writer, x))


def norm_behind(writer: Writer, x: str, other: str) -> str:
    return writer.norm("u.behind", residual(writer, x, other))


def plan_of(write: Write) -> Plan:
    """A stem, a unit `u`, and a pooled result."""
    writer = Writer(3, (8, 8))
    x = writer.conv_norm_act("stem", "image", out=writer.space("a", 4, "width"))
    other = writer.conv_norm_act("other", "image", out="a")
    with writer.part("blocks", "u"):
        value = writer.level(write(writer, x, other))
    pooled = writer.pool("pool", value)
    return writer.plan("n", {"logits": writer.linear("c", pooled, out=writer.space("c", 2, "fixed")), "map": value})


@pytest.mark.parametrize(
    ("write", "wanted"),
    [
        (residual, Ends("stem.norm", "u.add", "u.add")),
        (residual_act, Ends("stem.norm", "u.add", "u.act")),
        (turned, None),
        (two_readers, None),
        (sequence, None),
        (shortcut_conv, None),
        (norm_behind, None),
    ],
)
def test_a_unit_can_be_skipped_if_it_adds_last_to_the_one_value_it_reads(write: Write, wanted: Ends | None) -> None:
    assert ends(plan_of(write), "u") == wanted


def test_last_norm_and_act() -> None:
    assert last_norm(plan_of(residual_act), "u") == "u.out.norm"
    assert [last_act(plan_of(write), "u") for write in (residual, residual_act, sequence)] == ["none", "relu", "none"]


@pytest.mark.parametrize("act", ["none", "relu6"])
def test_a_copy_has_spaces_of_its_own_and_all_readers_follow(act: str) -> None:
    plan = plan_of(residual_act)
    deep = insert_copy(plan, "u", "v", "u.act", act)
    end = "v.add" if act == "none" else "v.act"
    assert [node.name for node in deep.nodes if node.unit == "v"] == [
        *("v.in.conv", "v.in.norm", "v.in.act", "v.out.conv", "v.out.norm", "v.add"),
        *(["v.act"] if act != "none" else []),
    ]
    assert deep.by_name["v.in.conv"].inputs == ("u.act",)
    assert deep.by_name["v.add"].inputs == ("u.act", "v.out.norm")
    assert deep.by_name["pool"].inputs == (end,)
    assert dict(deep.outputs) == {"logits": "c", "map": end}
    assert [level.node for level in deep.levels] == [end]
    assert deep.spaces[-1].name == "v.hidden" and deep.spaces[-1].parent == "a"
    assert deep.registered == (*plan.registered, "v.in.conv", "v.in.norm", "v.out.conv", "v.out.norm")
    assert Plan.from_dict(deep.to_dict()) == deep
