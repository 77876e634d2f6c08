"""Blocks of a plan: whether one can be skipped, and plans with copies of blocks put in. Imports no torch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shiftaddaug.nets.nodes import Node, Space

if TYPE_CHECKING:
    from shiftaddaug.nets.plan import Plan


COPIED = ("conv", "norm", "act", "pool", "gate")
"""Kinds of nodes that a unit without a shortcut may be made of, for a copy of it to get one."""


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
    """Return the spaces that a unit writes, but those of what it reads and of its result."""
    nodes = plan.units()[unit]
    written = {node.space for node in nodes} - {nodes[-1].space, plan.by_name[_entry(plan, unit)].space}
    return tuple(space for space in plan.spaces if space.name in written)


def renamed_spaces(plan: "Plan", unit: str, name: str) -> tuple[Space, ...]:
    """Return a unit's own spaces as those of a copy of that name, which reads the stream that the unit writes."""
    read, stream = plan.by_name[_entry(plan, unit)].space, plan.units()[unit][-1].space
    return tuple(
        replace(
            space,
            name=name + space.name.removeprefix(unit),
            parent=stream if space.parent == read else space.parent,
        )
        for space in own_spaces(plan, unit)
    )


def _entry(plan: "Plan", unit: str) -> str:
    """Return the first value that a unit reads."""
    inside = {node.name for node in plan.units()[unit]}
    return next(name for node in plan.units()[unit] for name in node.inputs if name not in inside)


def may_get_shortcut(plan: "Plan", unit: str) -> bool:
    """Return whether a copy of a unit that adds nothing to what it reads could do so, with stride 1.

    It can if it reads one value, and if neither it nor its values beside the last one are added to or pooled.
    """
    nodes = plan.units()[unit]
    inside = {node.name for node in nodes}
    entries = {name for node in nodes for name in node.inputs} - inside
    plain = all(node.kind in COPIED for node in nodes)
    return len(entries) == 1 and plain and not _read_outside(plan, inside) - {nodes[-1].name}


def insert_copy(plan: "Plan", model: str, name: str, value: str, act: str) -> "Plan":
    """Return the plan with a copy of a unit behind a value, whose readers read the copy; the unit can be skipped.

    Args:
        plan: of the network.
        model: the unit that is copied, with spaces of its own for all but its stream. One that adds nothing to what
            it reads is copied with stride 1, and with a shortcut.
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
    found, entry, read = ends(plan, model), _entry(plan, model), plan.by_name[value]
    pooled: set[str] = set()
    pairs = zip(own_spaces(plan, model), renamed_spaces(plan, model, name), strict=True)
    spaces: Mapping[str, str] = {old.name: new.name for old, new in pairs} | {plan.by_name[entry].space: read.space}
    copies = []
    for node in plan.units()[model]:
        inputs = tuple(value if old == entry else name + old.removeprefix(model) for old in node.inputs)
        space, own = spaces.get(node.space, node.space), name + node.name.removeprefix(model)
        copied = replace(node, name=own, inputs=inputs, space=space, unit=name)
        if found is None:  # the model may stride
            if node.kind == "pool" or pooled.issuperset(inputs):
                pooled.add(own)
            copied = replace(copied, stride=1, size=(1, 1) if own in pooled else read.size)
        copies.append(copied)
        if found is not None and node.name == found.join:
            break
    if found is None:
        last = copies[-1]
        copies.append(
            Node(f"{name}.add", "add", (value, last.name), last.space, last.size, group=last.group, unit=name)
        )
    if act != "none":
        join = copies[-1]
        copies.append(
            Node(f"{name}.act", "act", (join.name,), join.space, join.size, act=act, group=join.group, unit=name)
        )
    return copies


def renamed_value(name: str, units: Mapping[str, str]) -> str:
    """Return the name of a node or a space, its unit's name replaced.

    Args:
        name: such as blocks.3.expand.conv, or blocks.3, which is a space.
        units: new names by old ones.
    """
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        unit = ".".join(parts[:end])
        if unit in units:
            return ".".join([units[unit], *parts[end:]])
    return name


def renamed(plan: "Plan", units: Mapping[str, str]) -> "Plan":
    """Return a plan whose units, their nodes and their spaces, are called otherwise.

    Args:
        plan: of a network.
        units: new names by old ones.
    """

    def new(name: str) -> str:
        return renamed_value(name, units)

    return replace(
        plan,
        spaces=tuple(replace(space, name=new(space.name), parent=new(space.parent)) for space in plan.spaces),
        nodes=tuple(
            replace(
                node,
                name=new(node.name),
                inputs=tuple(map(new, node.inputs)),
                space=new(node.space),
                unit=new(node.unit),
            )
            for node in plan.nodes
        ),
        outputs=tuple((key, new(node)) for key, node in plan.outputs),
        levels=tuple(replace(level, node=new(level.node), space=new(level.space)) for level in plan.levels),
        registered=tuple(map(new, plan.registered)),
    )
