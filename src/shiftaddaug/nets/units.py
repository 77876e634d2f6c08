"""Blocks of a plan: whether one can be skipped, and plans with copies of blocks put in. Imports no torch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shiftaddaug.nets.nodes import Node, Space

if TYPE_CHECKING:
    from shiftaddaug.nets.plan import Plan


@dataclass(frozen=True)
class Ends:
    """What a unit that can be skipped reads and yields: both are of one space."""

    entry: str
    """The one value that it reads."""
    join: str
    """The `add` whose first input is the entry."""
    exit: str
    """The unit's last node: the join, or an activation of it."""


def ends(plan: "Plan", unit: str) -> Ends | None:
    """Return where a unit begins and ends, if it can be skipped.

    It can if it reads one value and adds to it last, and if nothing but its last value is read elsewhere.
    """
    nodes = plan.units()[unit]
    inside = {node.name: node for node in nodes}
    entries = {name for node in nodes for name in node.inputs} - inside.keys()
    join = nodes[-1]
    while join.kind == "act" and join.inputs[0] in inside:
        join = inside[join.inputs[0]]
    if len(entries) != 1 or join.kind != "add" or join.inputs[0] not in entries:
        return None
    if _read_outside(plan, inside) - {nodes[-1].name}:
        return None
    return Ends(join.inputs[0], join.name, nodes[-1].name)


def _read_outside(plan: "Plan", inside: Collection[str]) -> set[str]:
    """Return which of a unit's values other nodes, outputs or levels read."""
    read = {name for node in plan.nodes if node.name not in inside for name in node.inputs}
    read |= {node for _, node in plan.outputs} | {level.node for level in plan.levels}
    return read & set(inside)


def without(plan: "Plan", units: Collection[str]) -> "Plan":
    """Return the plan without some units: readers of their results read what the units read.

    Spaces and modules that nobody has any more go, too.

    Args:
        plan: of the network.
        units: such that can be skipped.
    """
    instead = {plan.skippable[unit].exit: plan.skippable[unit].entry for unit in units}

    def moved(name: str) -> str:
        while name in instead:
            name = instead[name]
        return name

    left = [node for node in plan.nodes if node.unit not in set(units)]
    nodes = tuple(replace(node, inputs=tuple(map(moved, node.inputs))) for node in left)
    names, spaces = {node.name for node in nodes}, {node.space for node in nodes}
    return replace(
        plan,
        nodes=nodes,
        spaces=tuple(space for space in plan.spaces if space.name in spaces),
        outputs=tuple((key, moved(node)) for key, node in plan.outputs),
        levels=tuple(replace(level, node=moved(level.node)) for level in plan.levels),
        registered=tuple(name for name in plan.registered if name in names),
    )


def last_act(plan: "Plan", unit: str) -> str:
    """Return the activation that a unit ends in, or `none`."""
    last = plan.units()[unit][-1]
    return last.act if last.kind == "act" else "none"


def last_norm(plan: "Plan", unit: str) -> str:
    """Return the name of the last batch-norm before the `add` of a unit that can be skipped."""
    found = ends(plan, unit)
    assert found is not None, unit
    node = plan.by_name[plan.by_name[found.join].inputs[1]]
    while node.kind != "norm":
        node = plan.by_name[node.inputs[0]]
    return node.name


def own_spaces(plan: "Plan", unit: str) -> tuple[Space, ...]:
    """Return the spaces that a unit writes, but the one of its result."""
    nodes = plan.units()[unit]
    written = {node.space for node in nodes} - {nodes[-1].space}
    return tuple(space for space in plan.spaces if space.name in written)


def renamed_spaces(plan: "Plan", unit: str, name: str) -> tuple[Space, ...]:
    """Return a unit's own spaces as those of a copy of that name."""
    return tuple(replace(space, name=name + space.name.removeprefix(unit)) for space in own_spaces(plan, unit))


def insert_copy(plan: "Plan", model: str, name: str, value: str, act: str) -> "Plan":
    """Return the plan with a copy of a unit behind a value, whose readers read the copy; the unit can be skipped.

    Args:
        plan: of the network.
        model: the unit that is copied, with spaces of its own for all but its stream.
        name: of the copy.
        value: of the model's stream.
        act: what the copy ends in, whatever the model does.
    """
    copies = _copies(plan, model, name, value, act)
    end = copies[-1].name

    def moved(name: str) -> str:
        return end if name == value else name

    at = [node.name for node in plan.nodes].index(value) + 1
    after = (replace(node, inputs=tuple(map(moved, node.inputs))) for node in plan.nodes[at:])
    made = [copied for copied in plan.registered if plan.by_name[copied].unit == model]
    return replace(
        plan,
        nodes=(*plan.nodes[:at], *copies, *after),
        spaces=plan.spaces + renamed_spaces(plan, model, name),
        outputs=tuple((key, moved(node)) for key, node in plan.outputs),
        levels=tuple(replace(level, node=moved(level.node)) for level in plan.levels),
        registered=plan.registered + tuple(name + copied.removeprefix(model) for copied in made),
    )


def _copies(plan: "Plan", model: str, name: str, value: str, act: str) -> list[Node]:
    found = ends(plan, model)
    assert found is not None, model
    pairs = zip(own_spaces(plan, model), renamed_spaces(plan, model, name), strict=True)
    spaces: Mapping[str, str] = {old.name: new.name for old, new in pairs}
    copies = []
    for node in plan.units()[model]:
        inputs = tuple(value if old == found.entry else name + old.removeprefix(model) for old in node.inputs)
        space, own = spaces.get(node.space, node.space), name + node.name.removeprefix(model)
        copies.append(replace(node, name=own, inputs=inputs, space=space, unit=name))
        if node.name == found.join:
            break
    if act != "none":
        join = copies[-1]
        copies.append(
            Node(f"{name}.act", "act", (join.name,), join.space, join.size, act=act, group=join.group, unit=name)
        )
    return copies
