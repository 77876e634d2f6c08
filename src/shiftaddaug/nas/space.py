"""Networks of a search space: the largest one, and others drawn at random inside of it. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.candidates import Candidates
from shiftaddaug.nas.settings import SpaceSettings
from shiftaddaug.nets.entry import make_divisible
from shiftaddaug.nets.plan import Plan


def largest_table(table: Mapping[str, Any], space: SpaceSettings, width_mult: float) -> dict[str, Any]:
    """Return the table of a space's largest network: the largest kernel and expand ratio in every searched stage.

    Stages that state `expand` are searched; they have as many blocks as the table says. Others stay as they are.

    Args:
        table: a net's yaml, as plain containers.
        space: which choices there are.
        width_mult: of the table.

    Raises:
        UserError: no stage is searched.
    """
    searched = [stage for stage in table["stages"] if "expand" in stage]
    if not searched:
        raise UserError(
            f"space={space.name}: net={table['name']} has no stage with expand, and so none that is searched"
        )
    stages = [_largest(stage, space) if "expand" in stage else stage for stage in table["stages"]]
    return {**table, "width_mult": width_mult, "stages": stages}


def _largest(stage: Mapping[str, Any], space: SpaceSettings) -> dict[str, Any]:
    lists = [len(value) for value in stage.values() if isinstance(value, list)]
    depth = max([int(stage.get("depth", 1)), *lists])
    kept = {key: value for key, value in stage.items() if key != "hidden"}
    return kept | {"kernels": max(space.kernels), "expand": max(space.expand_ratios), "depth": depth}


@dataclass(frozen=True)
class _Block:
    """A block that is searched."""

    hidden: int
    """Place of its hidden space in `Plan.spaces`."""
    stream: int
    """Place of the space that it reads."""
    layer: int
    """Place of its depthwise convolution in `Plan.layers`."""


class Choices:
    """What may be chosen inside of a plan.

    Args:
        plan: of the space's largest network.
        space: which choices there are.
        divisor: of widths.
    """

    def __init__(self, plan: Plan, space: SpaceSettings, divisor: int) -> None:
        self.plan, self.space, self.divisor = plan, space, divisor
        self._channels = np.array([each.channels for each in plan.spaces], np.int64)
        self._widths = [i for i, each in enumerate(plan.spaces) if each.kind == "width"]
        self._blocks, self._stages = self._searched(), self._depths()

    def _searched(self) -> list[_Block]:
        index, places = self.plan.index(), {layer.name: i for i, layer in enumerate(self.plan.layers())}
        hidden = {each.name: index[each.parent] for each in self.plan.spaces if each.kind == "hidden" and each.parent}
        largest = max(self.space.kernels)
        return [
            _Block(index[layer.space], hidden[layer.space], places[layer.name])
            for layer in self.plan.layers()
            if layer.depthwise and layer.space in hidden and layer.kernel == largest
        ]

    def _depths(self) -> list[list[int]]:
        """Places in `Plan.skippable` of the blocks that each stage may leave out, the last of them first."""
        stages: dict[str, list[int]] = {}
        for place, (unit, ends) in enumerate(self.plan.skippable.items()):
            assert unit
            stages.setdefault(self.plan.by_name[ends.join].space, []).append(place)
        spared = self.space.least_depth - 1  # a stage's first block is never left out
        return [places[spared:][::-1] for places in stages.values() if places[spared:]]

    def sample(self, generator: np.random.Generator, count: int) -> Candidates:
        """Return sub-networks whose kernels, expand ratios, depths, widths and operators are drawn independently.

        A stage loses its last blocks. Operators are drawn for each layer of a searched block, from the places of
        `space.operators`; all other layers have the first one.

        Args:
            generator: all randomness comes from it.
            count: how many.
        """
        channels, layers = np.tile(self._channels, (count, 1)), self.plan.layers()
        for place in self._widths:
            share = generator.choice(self.space.widths, count)
            channels[:, place] = self._rounded(self._channels[place] * share, self._channels[place])
        kernels = np.tile(np.array([layer.kernel for layer in layers], np.int64), (count, 1))
        operators = np.zeros((count, len(layers)), np.int64)
        for block in self._blocks:
            ratio = generator.choice(self.space.expand_ratios, count)
            wanted = channels[:, block.stream] * ratio
            channels[:, block.hidden] = self._rounded(wanted, self._channels[block.hidden])
            kernels[:, block.layer] = generator.choice(self.space.kernels, count)
        for place, layer in enumerate(layers):
            if layer.group == "blocks":
                operators[:, place] = generator.integers(len(self.space.operators), size=count)
        skipped = np.zeros((count, len(self.plan.skippable)), bool)
        for places in self._stages:
            lost = generator.integers(len(places) + 1, size=count)
            for i, place in enumerate(places):
                skipped[:, place] = lost > i
        return Candidates(channels, kernels, operators, skipped)

    def _rounded(self, widths: NDArray[np.float64], most: int) -> NDArray[np.int64]:
        """Round widths as a net's table does; at most the largest network's."""
        values, inverse = np.unique(widths, return_inverse=True)
        rounded = np.array([make_divisible(round(float(value)), self.divisor) for value in values], np.int64)
        return np.minimum(rounded[inverse], most)
