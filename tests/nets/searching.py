"""A searched net as a search writes it: a candidate of a space, its operators mixed."""

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
from shiftaddaug.nets.surroundings import surroundings

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


def deep_and_target(choices: Choices, generator: np.random.Generator) -> tuple[SubnetSpec, SubnetSpec]:
    """Two specs of a plan, of which the first contains the second: the larger and the smaller of two candidates."""
    two = choices.sample(generator, 2)
    deep = Candidates(two.channels.max(0)[None], two.kernels.max(0)[None], two.operators, two.skipped.all(0)[None])
    target = Candidates(two.channels.min(0)[None], two.kernels.min(0)[None], two.operators, two.skipped.any(0)[None])
    return spec_of(choices.plan, deep, 0), spec_of(choices.plan, target, 0)


def searched_net(
    net: str = "mbv2_micro",
    seed: int = 0,
    side: int = 32,
    names: tuple[str, ...] = ("mult", "shift", "add"),
) -> SearchedNet:
    """A candidate that was drawn inside of a larger one, its operators in turn; stem and classifier multiply.

    Args:
        net: whose largest network it is a part of.
        seed: of the draw.
        side: of images.
        names: of operators.
    """
    largest = largest_of(net)
    plan = plan_of(largest, side=side)
    deep, target = deep_and_target(Choices(plan, SPACE, largest["divisor"]), np.random.default_rng(seed))
    table, layers = sub_table(largest, plan, target)
    made = [operators.settings_from({"name": name}) for name in names]
    multiplied = ("stem.conv", "classifier")
    chosen = [made[0] if layer in multiplied else made[i % len(made)] for i, layer in enumerate(layers)]
    assignment = Assignment(dict(zip(layers, chosen, strict=True)))
    around = surroundings(plan, target, deep, layers, largest["divisor"])
    return SearchedNet(table, assignment.to_dict(), around, side, {"macs": 12345})


def written(folder: Path, **arguments: Any) -> Path:
    """The file of a searched net, its arguments as of `searched_net`."""
    folder.mkdir(exist_ok=True)
    path = folder / "searched.json"
    searched_net(**arguments).write(path)
    return path
