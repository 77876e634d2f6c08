"""A searched net as a search writes it: a candidate of a space, its operators mixed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tests.build import plan_of, read_yaml

from shiftaddaug import operators
from shiftaddaug.hardware.candidates import Candidates
from shiftaddaug.nas.settings import check_space
from shiftaddaug.nas.space import Choices, largest_table
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.searched import SearchedNet
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.sub_table import sub_table

SPACE = check_space(read_yaml("space", "micro"))
"""The space that tests draw from."""


def table_of(net: str) -> dict[str, Any]:
    """The table of a net of configs/, no layer of which multiplies of itself."""
    return read_yaml("net", net) | {"mult_layers": []}


def largest_of(net: str, width_mult: float | None = None) -> dict[str, Any]:
    """The table of the largest network of the space."""
    table = table_of(net)
    return largest_table(table, SPACE, table["width_mult"] if width_mult is None else width_mult)


def spec_of(plan: Plan, candidates: Candidates, row: int) -> SubnetSpec:
    """A candidate as a spec."""
    layers, skippable = plan.layers(), list(plan.skippable)
    kernels = zip(layers, candidates.kernels[row].tolist(), strict=True)
    return SubnetSpec(
        tuple(candidates.channels[row].tolist()),
        kernels=tuple((layer.name, kernel) for layer, kernel in kernels if kernel != layer.kernel),
        skipped=frozenset(unit for unit, gone in zip(skippable, candidates.skipped[row], strict=True) if gone),
    )


def searched_net(
    net: str = "mbv2_micro",
    seed: int = 0,
    side: int = 32,
    names: tuple[str, ...] = ("mult", "shift", "add"),
    surroundings: Mapping[str, Any] | None = None,
) -> SearchedNet:
    """A candidate that was drawn, its operators in turn; stem and classifier multiply.

    Args:
        net: whose largest network it is a part of.
        seed: of the draw.
        side: of images.
        names: of operators.
        surroundings: of it; none by default.
    """
    largest = largest_of(net)
    plan = plan_of(largest, side=side)
    drawn = Choices(plan, SPACE, largest["divisor"]).sample(np.random.default_rng(seed), 1)
    table, layers = sub_table(largest, plan, spec_of(plan, drawn, 0))
    made = [operators.settings_from({"name": name}) for name in names]
    multiplied = ("stem.conv", "classifier")
    chosen = [made[0] if layer in multiplied else made[i % len(made)] for i, layer in enumerate(layers)]
    assignment = Assignment(dict(zip(layers, chosen, strict=True)))
    return SearchedNet(table, assignment.to_dict(), dict(surroundings or {}), side, {"macs": 12345})


def written(folder: Path, **arguments: Any) -> Path:
    """The file of a searched net, its arguments as of `searched_net`."""
    path = folder / "searched.json"
    searched_net(**arguments).write(path)
    return path
