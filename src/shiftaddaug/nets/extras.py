"""Extra blocks: what depth augmentation adds to a plan. Imports no torch.

The plan stays the target's; an `ExtraBlock` says where a block is inserted, and brings its own hidden spaces. Only an
identity shortcut lets a block go without leaving a gap, so only streams with such blocks get extra ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shiftaddaug.errors import UserError
from shiftaddaug.nets.plan import BlockPlan, ConvPlan, NetPlan, Space

IDEMPOTENT_ACTS = ("none", "relu", "relu6")
"""Activations that change nothing of their own output: after one, x + 0 f(x) is x."""


@dataclass(frozen=True)
class ExtraBlock:
    """A block with an identity shortcut that the target does not have."""

    block: BlockPlan
    after: str
    """The plan's block whose output it reads."""
    model: str
    """The plan's block that it is built as."""
    spaces: tuple[Space, ...]
    """Its own, which the plan does not have: hidden channels, squeeze-excite."""


def plan_extra_blocks(plan: NetPlan, count: int, after: Sequence[str] | None = None) -> tuple[ExtraBlock, ...]:
    """Extra blocks in forward order, named extras.0, extras.1, ...

    Each is built as the last block of its stage that has an identity shortcut: kernel, hidden channels,
    squeeze-excite, activations. A stage is the blocks that write the same stream.

    Args:
        plan: of the target.
        count: of blocks per place; 0 is none at all.
        after: names of the blocks they follow; by default the last block of every stage with an identity shortcut.

    Raises:
        UserError: a count that is none, a block that is not there or no block can follow, a net with no such block.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise UserError(f"aug.extra_blocks={count}: must be an integer >= 0")
    if count == 0:
        return ()
    models = _models(plan)
    places = {block.name: block for block in plan.blocks if _reason(block, models) is None}
    if not places:
        raise UserError(
            f"aug.extra_blocks={count}: net={plan.name} has no stage that an extra block could be retired from "
            f"(with an identity shortcut, and an activation that can be repeated); options: 0"
        )
    chosen = set(_last_of_stages(places) if after is None else _checked(plan, after, places, models))
    extras: list[ExtraBlock] = []
    for block in plan.blocks:
        for _ in range(count if block.name in chosen else 0):
            extras.append(_extra(f"extras.{len(extras)}", block, models[_stream(block)], plan))
    return tuple(extras)


def _stream(block: BlockPlan) -> str:
    return block.convs[-1].out


def _models(plan: NetPlan) -> dict[str, BlockPlan]:
    """By stream, the last block with an identity shortcut."""
    return {_stream(block): block for block in plan.blocks if block.shortcut == "identity"}


def _last_of_stages(places: Mapping[str, BlockPlan]) -> list[str]:
    return list({_stream(block): name for name, block in places.items()}.values())


def _reason(block: BlockPlan, models: Mapping[str, BlockPlan]) -> str | None:
    """Why no extra block can follow this one, if so."""
    if _stream(block) not in models:
        return "no block of its stage has an identity shortcut (stride 1, equal width)"
    if block.act not in IDEMPOTENT_ACTS:
        return f"its activation {block.act} would be applied again even by a block that adds nothing"
    return None


def _checked(
    plan: NetPlan, after: Sequence[str], places: Mapping[str, BlockPlan], models: Mapping[str, BlockPlan]
) -> Sequence[str]:
    blocks = {block.name: block for block in plan.blocks}
    options = f"options: {', '.join(places)}"
    if isinstance(after, str) or not after:
        raise UserError(f"aug.extra_after={after}: must be null or a list of blocks; {options}")
    for name in after:
        if name not in blocks:
            raise UserError(f"aug.extra_after={name}: no such block in net={plan.name}; {options}")
        reason = _reason(blocks[name], models)
        if reason is not None:
            raise UserError(f"aug.extra_after={name}: {reason}; {options}")
    return after


def _extra(name: str, after: BlockPlan, model: BlockPlan, plan: NetPlan) -> ExtraBlock:
    """The model under another name, with spaces of its own for all but its stream."""
    excite = model.squeeze_excite
    used = {space for conv in model.convs for space in (conv.source, conv.out)} | ({excite.mid} if excite else set())
    private = [space for space in plan.spaces if space.name in used - {_stream(model)}]
    renamed = {space.name: name + space.name.removeprefix(model.name) for space in private}

    def moved(conv: ConvPlan) -> ConvPlan:
        source, out = (renamed.get(space, space) for space in (conv.source, conv.out))
        return replace(conv, source=source, out=out)

    if excite is not None:
        gated = renamed.get(excite.channels, excite.channels)
        excite = replace(excite, channels=gated, mid=renamed[excite.mid])
    block = BlockPlan(name, tuple(map(moved, model.convs)), "identity", squeeze_excite=excite, act=after.act)
    return ExtraBlock(
        block, after.name, model.name, tuple(replace(space, name=renamed[space.name]) for space in private)
    )
