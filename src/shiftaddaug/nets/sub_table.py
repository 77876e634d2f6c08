"""The table of a sub-network: what a search has found in a large network, written as a net of its own.

Imports no torch.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import UserError
from shiftaddaug.nets import archs, blocks
from shiftaddaug.nets.nodes import GATE, Node
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.tables import depth_of, plan_net, value_of
from shiftaddaug.nets.units import renamed, renamed_value

if TYPE_CHECKING:
    from shiftaddaug.nets.spec import SubnetSpec


def sub_table(
    table: Mapping[str, Any],
    plan: Plan,
    spec: "SubnetSpec",
    catalogue: Catalogue = PACKAGE_ONLY,
    arch: Mapping[str, Any] = archs.DEFAULT,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the table of a sub-network, and what its layers are called in the network that it is a part of.

    The table's plan is `plan.at(spec)` but for the names of blocks, which are numbered anew: that is checked. Its
    `width_mult` is 1, its widths are channels.

    Args:
        table: a net's yaml, as plain containers.
        plan: `plan_net` of it.
        spec: of the plan's sub-network. Who computes in it (`multiplied`, `blends`) does not matter.
        catalogue: of the package and the plugins in use, whose blocks the table may name.
        arch: what follows the table's stages, as the plan was made with.

    Returns:
        The table, and the names of the plan's layers by those of the table's.

    Raises:
        UserError: a sub-network that no table describes; the first thing in which it differs from the nearest one.
    """
    part, stages, units = plan.at(spec), list[dict[str, Any]](), dict[str, str]()
    place = 0
    for stage in table["stages"]:
        names = [f"blocks.{place + i}" for i in range(depth_of(stage))]
        kept = [i for i, name in enumerate(names) if name not in spec.skipped]
        units |= {names[i]: f"blocks.{len(units) + j}" for j, i in enumerate(kept)}
        if kept:
            stages.append(_stage(stage, kept, [names[i] for i in kept], part, catalogue))
        place += len(names)
    made = {**table, "width_mult": 1.0, "stages": stages} | _ends(table, part)
    made["divisor"] = _divisor(int(table.get("divisor", 8)), part)
    return made, _checked(made, part, units, catalogue, arch)


def _stage(
    stage: Mapping[str, Any], kept: Sequence[int], names: Sequence[str], part: Plan, catalogue: Catalogue
) -> dict[str, Any]:
    """Return a stage of the blocks that are kept, its widths and kernels as they are in the part.

    Args:
        stage: of the table.
        kept: places of the blocks in the stage.
        names: of the blocks.
        part: the sub-network's plan.
        catalogue: as of `sub_table`.
    """
    units, channels = part.units(), part.channels()
    values: dict[str, list[Any]] = {
        key: [value_of(value, i) for i in kept] for key, value in stage.items() if key not in ("depth", "stride")
    }
    values["channels"] = [channels[units[name][-1].space] for name in names]
    values["kernels"] = [_kernel(units[name]) for name in names]
    if "hidden" in (blocks.keys(stage.get("block"), catalogue) or {}):
        values["hidden"] = [channels[f"{name}.hidden"] for name in names]
        values.pop("expand", None)
    if any(values.get("se", ())):
        values["se"] = [channels.get(f"{name}.se", False) for name in names]
    common = {key: each[0] if all(one == each[0] for one in each) else each for key, each in values.items()}
    return common | {"stride": stage.get("stride", 1), "depth": len(kept)}


def _kernel(nodes: Collection[Node]) -> int:
    return max(node.kernel for node in nodes if node.kind == "conv" and node.group != GATE)


def _ends(table: Mapping[str, Any], part: Plan) -> dict[str, Any]:
    """Return stem, head and neck of a table, with the widths of a part of its plan."""
    channels = part.channels()
    stem = {**table["stem"], "channels": channels["stem"], "kernel": part.by_name["stem.conv"].kernel}
    ends = {"stem": stem}
    for key in ("head", "neck"):
        if table.get(key) and key in channels:
            kept = {name: value for name, value in table[key].items() if name != "min_channels"}
            ends[key] = kept | {"channels": channels[key]}
    return ends


def _divisor(divisor: int, part: Plan) -> int:
    """Return the divisor of a table, or 1 where a width is no multiple of it."""
    results = {part.by_name[node].space for _, node in part.outputs} | {part.nodes[0].space}
    widths = [space.channels for space in part.spaces if space.name not in results]
    return divisor if all(width % divisor == 0 for width in widths) else 1


def _checked(
    made: Mapping[str, Any], part: Plan, units: Mapping[str, str], catalogue: Catalogue, arch: Mapping[str, Any]
) -> dict[str, str]:
    """Return the old names of layers by the new ones, if the made table is of the part.

    Raises:
        UserError: it is not; the first difference.
    """
    inverse = {new: old for old, new in units.items()}
    found = plan_net(made, part.num_classes, part.in_channels, part.image_size, catalogue, arch)
    wanted = renamed(part, units)
    for key in ("spaces", "nodes", "outputs", "levels", "registered"):
        ours, theirs = getattr(found, key), getattr(wanted, key)
        if ours != theirs:
            raise UserError(f"net={part.name}: no table describes this sub-network: {_difference(ours, theirs)}")
    return {layer.name: renamed_value(layer.name, inverse) for layer in found.layers()}


def _difference(ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    """Say where what a table says and what is wanted differ first."""
    for one, other in zip(ours, theirs, strict=False):
        if one == other:
            continue
        name = getattr(other, "name", getattr(other, "node", other))
        if not hasattr(other, "name") or one.name != other.name:
            return f"it has {name}, and a table has {getattr(one, 'name', one)} there"
        key = next(f.name for f in fields(other) if getattr(one, f.name) != getattr(other, f.name))
        return f"{name} has {key}={getattr(other, key)}, and in a table {getattr(one, key)}"
    return f"it has {len(theirs)} parts of a kind, and a table has {len(ours)}"
