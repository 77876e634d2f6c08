"""What lies around a searched net in training: the deep sub-network of its search, as widths and extra blocks.

    {"channels": {"blocks.3.hidden": [24, 40, 56]}, "extra_blocks": {"blocks.3": 2}}

`channels` names spaces of the net's plan, and the widths that augmented sub-networks draw from, rising from the net's
own. `extra_blocks` names blocks, and how many extra ones follow each. Imports no torch.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from shiftaddaug.errors import UserError
from shiftaddaug.nets.entry import make_divisible
from shiftaddaug.nets.extras import check_blocks, may_follow, plan_extra_blocks
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.units import renamed_value
from shiftaddaug.settings import options_near, shown

if TYPE_CHECKING:
    from shiftaddaug.nets.spec import SubnetSpec

KEYS = ("channels", "extra_blocks")

Channels = Mapping[str, Sequence[int]]
"""Widths that are drawn from, by space."""

WIDTHS = 4
"""Widths that a space is drawn from, at most: as many as NetAug's expand multipliers are (arXiv 2110.08890)."""


def surroundings(
    plan: Plan, target: "SubnetSpec", deep: "SubnetSpec", names: Mapping[str, str], divisor: int
) -> dict[str, Any]:
    """Return what lies around a target: the deep sub-network that it was found inside of.

    Spaces that are wider in the deep sub-network are drawn from up to `WIDTHS` widths, evenly spaced from the target's
    to the deep one's, and rounded to multiples of `divisor`. A block that the target lacks follows the last one before
    it that the target has; it must be of the same stage, and one that an extra block may follow.

    NOTE: kernels that are larger in the deep sub-network stay the target's: kernels are not augmented. Gates have the
    target's width. An extra block is built as a block of the target's stage, not as it is in the deep sub-network.

    Args:
        plan: of the network that both are parts of.
        target: the spec of the target.
        deep: the spec of the deep sub-network, which contains the target.
        names: names of the plan's layers by those of the target's table, as `sub_table` returns them.
        divisor: of widths.

    Raises:
        ValueError: a deep sub-network that is narrower or shallower than the target.
    """
    plan.check(target)
    plan.check(deep)
    if not deep.skipped <= target.skipped:
        raise ValueError(f"deep: skips {min(deep.skipped - target.skipped)}, which the target has")
    units = {plan.by_name[old].unit: _unit_of(new, plan.by_name[old]) for new, old in names.items()}
    used = {node.space for node in plan.at(target).nodes}
    channels: dict[str, list[int]] = {}
    for space, least, most in zip(plan.spaces, target.channels, deep.channels, strict=True):
        if space.name not in used or space.kind == "fixed":
            continue
        if most < least:
            raise ValueError(f"deep: {most} channels of {space.name}, of which the target has {least}")
        if most > least:
            channels[renamed_value(space.name, units)] = _between(least, most, divisor)
    extra, places = dict[str, int](), may_follow(plan.at(target))
    for unit in sorted(target.skipped - deep.skipped, key=list(plan.units()).index):
        before = _kept_before(plan, unit, target.skipped)
        if before in places:
            extra[units[before]] = extra.get(units[before], 0) + 1
    return {"channels": channels, "extra_blocks": extra}


def _unit_of(new: str, old: Node) -> str:
    """Return the unit of a layer by its new name, given the layer under its old one."""
    return new[: len(new) - len(old.name) + len(old.unit)] if old.unit else ""


def _between(least: int, most: int, divisor: int) -> list[int]:
    steps = [least + (most - least) * i / (WIDTHS - 1) for i in range(1, WIDTHS - 1)]
    rounded = {make_divisible(step, divisor) for step in steps}
    return [least, *sorted(width for width in rounded if least < width < most), most]


def _kept_before(plan: Plan, unit: str, skipped: Collection[str]) -> str | None:
    """Return the last block of a unit's stage before it that is not skipped."""
    units = plan.units()
    before = [name for name in list(units)[: list(units).index(unit)] if units[name][-1].space == units[unit][-1].space]
    kept = [name for name in before if name not in skipped]
    return kept[-1] if kept else None


def check_surroundings(key: str, surroundings: Mapping[str, Any], plan: Plan) -> None:
    """Refuse surroundings that are not those of a net.

    Args:
        key: where they stand.
        surroundings: as they were read; {} is none.
        plan: of the net.

    Raises:
        UserError: naming the first mistake.
    """
    for name in surroundings:
        if name not in KEYS:
            raise UserError(f"{key}.{name}: no such key; options: {', '.join(KEYS)}")
    check_channels(f"{key}.channels", surroundings.get("channels", {}), plan)
    blocks = surroundings.get("extra_blocks", {})
    check_blocks(f"{key}.extra_blocks", blocks, plan)
    plan_extra_blocks(plan, blocks)


def choices(channels: Channels, plan: Plan) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the widths that spaces are drawn from, as `Widening` takes them.

    Raises:
        UserError: as `check_channels`.
    """
    check_channels("aug.channels", channels, plan)
    return tuple((space, tuple(widths)) for space, widths in channels.items())


def check_channels(key: str, channels: Any, plan: Plan) -> None:
    """Refuse widths to draw from that are not those of a net's spaces.

    Raises:
        UserError: naming the first mistake.
    """
    if not isinstance(channels, Mapping):
        raise UserError(f"{key}={shown(channels)}: must be widths by space, such as {{blocks.3.hidden: [24,40]}}")
    own = {space.name: space.channels for space in plan.spaces if space.kind != "fixed"}
    for space, widths in channels.items():
        if space not in own:
            raise UserError(f"{key}.{space}: no such space in net={plan.name}; {options_near(str(space), own)}")
        whole = isinstance(widths, list | tuple) and all(type(width) is int for width in widths) and len(widths) > 0
        if not whole or any(one >= next_one for one, next_one in pairwise(widths)) or widths[0] != own[space]:
            raise UserError(
                f"{key}.{space}={shown(widths)}: must be a list of whole numbers that rises from the net's own "
                f"{own[space]}, such as [{own[space]},{2 * own[space]}]"
            )
