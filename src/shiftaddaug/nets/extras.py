"""Extra blocks: what depth augmentation adds to a plan. Imports no torch.

The plan stays the target's; an `ExtraBlock` says where a block is inserted, and brings its own hidden spaces. Only a
unit that adds to what it reads can go without leaving a gap: extra blocks are copies of such, or get a shortcut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from shiftaddaug.errors import UserError
from shiftaddaug.nets.assignment import Assignment, T
from shiftaddaug.nets.nodes import EXTRAS, Space, is_extra
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.settings import ExtraBlocks, SomeExtraBlocks
from shiftaddaug.nets.units import ends, insert_copy, last_act, may_get_shortcut, renamed_spaces
from shiftaddaug.settings import check, options_near, shown

IDEMPOTENT_ACTS = ("none", "relu", "relu6")
"""Activations that change nothing of their own output: after one, x + 0 f(x) is x."""


@dataclass(frozen=True)
class ExtraBlock:
    """A block that adds to what it reads, and that the target does not have."""

    name: str
    """The unit of its nodes: extras.0, extras.1, ..."""
    after: str
    """The plan's unit whose result it reads."""
    model: str
    """The plan's unit that it is built as."""
    spaces: tuple[Space, ...]
    """Spaces of the block alone, which the plan does not have: hidden channels, squeeze-excite."""


def plan_extra_blocks(
    plan: Plan, count: int | Mapping[str, int], after: Sequence[str] | None = None
) -> tuple[ExtraBlock, ...]:
    """Extra blocks in forward order, named extras.0, extras.1, ...

    Each is built as the last block of its stage that has an identity shortcut: kernel, hidden channels,
    squeeze-excite, activations. A stage is the blocks that write the same stream.

    Args:
        plan: of the target.
        count: of blocks per place; 0 is none at all. Or a number for each of some blocks: extra ones may then follow in
            stages without an identity shortcut, too, built as the stage's first block, with stride 1 and a shortcut.
        after: names of the blocks they follow; by default the last block of every stage with an identity shortcut.

    Raises:
        UserError: a count that is none, a block that is not there or no block can follow, a net with no such block.
    """
    numbers = count if isinstance(count, Mapping) else None
    if numbers is None:
        check("aug.extra_blocks", count, ExtraBlocks)
    if not count:
        return ()
    if numbers is not None:
        check_blocks("aug.extra_blocks", numbers, plan)
    streams = _streams(plan)
    models = _models(plan, streams, first_ones=numbers is not None)
    reasons = {unit: _reason(plan, unit, streams[unit] in models) for unit in streams}
    places = [unit for unit, reason in reasons.items() if reason is None]
    if not places:
        raise UserError(
            f"aug.extra_blocks={shown(count)}: net={plan.name} has no stage that an extra block could be retired from "
            f"(with an identity shortcut, and an activation that can be repeated); options: 0{_by_number(plan)}"
        )
    if numbers is None:
        last_of_stages = list({streams[unit]: unit for unit in places}.values())
        named = last_of_stages if after is None else _checked("aug.extra_after", plan, after, places, reasons)
        numbers = dict.fromkeys(named, cast("int", count))
    else:
        _checked("aug.extra_blocks", plan, list(numbers), places, reasons)
    followed = [unit for unit in places for _ in range(numbers.get(unit, 0))]
    taken = sum(is_extra(unit) for unit in streams)  # of a network that was a deeper one's
    return tuple(_extra(f"{EXTRAS}.{taken + i}", unit, models[streams[unit]], plan) for i, unit in enumerate(followed))


def may_follow(plan: Plan) -> list[str]:
    """Return the names of the blocks that a number of extra blocks may be given for."""
    streams = _streams(plan)
    models = _models(plan, streams, first_ones=True)
    return [unit for unit in streams if _reason(plan, unit, streams[unit] in models) is None]


def check_blocks(key: str, blocks: Any, plan: Plan) -> None:
    """Refuse numbers of extra blocks that are none, or that do not follow the blocks of a net.

    Raises:
        UserError: naming the first mistake.
    """
    if not isinstance(blocks, Mapping):
        raise UserError(f"{key}={shown(blocks)}: must be numbers by block, such as {{blocks.3: 1}}")
    units = plan.units()
    for unit, count in blocks.items():
        if unit not in units:
            raise UserError(f"{key}.{unit}: no such block in net={plan.name}; {options_near(str(unit), units)}")
        check(f"{key}.{unit}", count, SomeExtraBlocks)


def deepened(plan: Plan, extras: Sequence[ExtraBlock]) -> Plan:
    """Return the plan with its extra blocks where they belong, their spaces and modules behind all others."""
    last: dict[str, str] = {}  # several at one place follow each other
    for extra in extras:
        value = last.get(extra.after, plan.units()[extra.after][-1].name)
        plan = insert_copy(plan, extra.model, extra.name, value, last_act(plan, extra.after))
        last[extra.after] = plan.units()[extra.name][-1].name
    return plan


def with_extras(
    plan: Plan, extras: Sequence[ExtraBlock], assignment: Assignment[T], multiplication: T | None
) -> Assignment[T]:
    """Return the operators of all layers, those of extra blocks too.

    Args:
        plan: of the target.
        extras: its extra blocks.
        assignment: of operators to the target's layers.
        multiplication: the operator of the extra blocks; None gives them those of the blocks that they are built as.
    """
    chosen = dict(assignment.layers)
    for extra in extras:
        for node in plan.units()[extra.model]:
            if node.name in assignment.layers:
                name = extra.name + node.name.removeprefix(extra.model)
                chosen[name] = assignment[node.name] if multiplication is None else multiplication
    return Assignment(chosen)


def _reason(plan: Plan, unit: str, has_model: bool) -> str | None:
    """Why no extra block can follow this one, if so."""
    if not has_model:
        return "no block of its stage has an identity shortcut (stride 1, equal width)"
    act = last_act(plan, unit)
    if act not in IDEMPOTENT_ACTS:
        return f"its activation {act} would be applied again even by a block that adds nothing"
    return None


def _by_number(plan: Plan) -> str:
    """Return what may be chosen of a net without identity shortcuts, as the end of a sentence."""
    places = may_follow(plan)
    return f", or numbers by block, such as {{{places[-1]}: 1}}" if places else ""


def _streams(plan: Plan) -> dict[str, str]:
    """Return the space of what each unit yields."""
    return {unit: nodes[-1].space for unit, nodes in plan.units().items()}


def _models(plan: Plan, streams: Mapping[str, str], first_ones: bool) -> dict[str, str]:
    """Return the blocks that extra ones are built as, by stream.

    Args:
        plan: of the target.
        streams: of its units.
        first_ones: whether the first block of a stream without an identity shortcut may be one.
    """
    models = {stream: unit for unit, stream in streams.items() if ends(plan, unit) is not None}
    for unit, stream in streams.items():
        if first_ones and stream not in models and may_get_shortcut(plan, unit):
            models[stream] = unit
    return models


def _checked(
    key: str, plan: Plan, after: Sequence[str], places: Sequence[str], reasons: Mapping[str, str | None]
) -> Sequence[str]:
    options = f"options: {', '.join(places)}"
    if isinstance(after, str) or not after:
        raise UserError(f"{key}={shown(after)}: must be null or a list of blocks; {options}")
    for name in after:
        if name not in reasons:
            raise UserError(f"{key}={name}: no such block in net={plan.name}; {options}")
        if reasons[name] is not None:
            raise UserError(f"{key}={name}: {reasons[name]}; {options}")
    return after


def _extra(name: str, after: str, model: str, plan: Plan) -> ExtraBlock:
    return ExtraBlock(name, after, model, renamed_spaces(plan, model, name))
