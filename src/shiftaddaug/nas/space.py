"""Networks of a search space: the largest one, and others drawn at random inside of it. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.candidates import Candidates
from shiftaddaug.nas.settings import SpaceSettings
from shiftaddaug.nets.assignment import select_layers
from shiftaddaug.nets.entry import make_divisible
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec

Point = Mapping[str, Any]
"""A sub-network as choices: an option for each of `Choices.parameters`."""

MULT = "mult"


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

    name: str
    hidden: int
    """Place of its hidden space in `Plan.spaces`."""
    stream: int
    """Place of the space that it reads."""
    layer: int
    """Place of its depthwise convolution in `Plan.layers`."""


class Choices:
    """What may be chosen inside of a plan: widths, kernels, expand ratios, depths, and the operators of layers.

    Args:
        plan: of the space's largest network.
        space: which choices there are.
        divisor: of widths.
        within: no network is larger than that one in any of its choices; by default than the plan.

    Raises:
        UserError: a name in `space.mult_layers` that no layer has.
    """

    def __init__(self, plan: Plan, space: SpaceSettings, divisor: int, within: Point | None = None) -> None:
        self.plan, self.space, self.divisor = plan, space, divisor
        self.operators = tuple(dict.fromkeys([MULT, *space.operators]))
        """Operators of layers, by which `Candidates.operators` counts; layers that are not searched multiply."""
        self._layers = plan.layers()
        self._channels = np.array([each.channels for each in plan.spaces], np.int64)
        self._widths = {each.name: i for i, each in enumerate(plan.spaces) if each.kind == "width"}
        self._blocks, self._stages = self._searched(), self._depths()
        multiplied = self._multiplied()
        self._operated = [i for i, layer in enumerate(self._layers) if layer.name not in multiplied]
        self.parameters = self._parameters(within)
        """The options of each choice, ascending where they are numbers."""

    def _multiplied(self) -> frozenset[str]:
        try:
            return select_layers(self.plan, self.space.mult_layers)
        except UserError as error:
            raise UserError(str(error).replace("net.mult_layers", "space.mult_layers")) from None

    def _searched(self) -> list[_Block]:
        index, places = self.plan.index(), {layer.name: i for i, layer in enumerate(self._layers)}
        hidden = {each.name: index[each.parent] for each in self.plan.spaces if each.kind == "hidden" and each.parent}
        largest = max(self.space.kernels)
        return [
            _Block(str(layer.unit), index[layer.space], hidden[layer.space], places[layer.name])
            for layer in self._layers
            if layer.depthwise and layer.space in hidden and layer.kernel == largest
        ]

    def _depths(self) -> dict[str, list[int]]:
        """Places in `Plan.skippable` of each stage's blocks that it may be without, by the stage's stream, in order."""
        stages: dict[str, list[int]] = {}
        for place, ends in enumerate(self.plan.skippable.values()):
            stages.setdefault(self.plan.by_name[ends.join].space, []).append(place)
        spared = self.space.least_depth - 1  # a stage's first block is never left out
        return {stream: places[spared:] for stream, places in stages.items() if places[spared:]}

    def _parameters(self, within: Point | None) -> dict[str, tuple[Any, ...]]:
        space, least = self.space, self.space.least_depth
        options: dict[str, Sequence[Any]] = {f"width.{name}": space.widths for name in self._widths}
        for block in self._blocks:
            options[f"expand.{block.name}"] = space.expand_ratios
            options[f"kernel.{block.name}"] = space.kernels
        options |= {f"depth.{name}": range(least, least + len(lost) + 1) for name, lost in self._stages.items()}
        numbers = {name: tuple(sorted(each)) for name, each in options.items()}
        if within is not None:
            numbers = {name: tuple(each for each in kept if each <= within[name]) for name, kept in numbers.items()}
        named = {f"operator.{self._layers[place].name}": tuple(space.operators) for place in self._operated}
        return {**numbers, **named}

    def largest(self) -> dict[str, Any]:
        """Return the point of the largest network; its layers have the first operator of the space."""
        return {name: _ends(name, options)[1] for name, options in self.parameters.items()}

    def smallest(self) -> dict[str, Any]:
        """Return the point of the smallest network; its layers have the first operator of the space."""
        return {name: _ends(name, options)[0] for name, options in self.parameters.items()}

    def draw(self, generator: np.random.Generator, count: int) -> list[dict[str, Any]]:
        """Return points whose choices are drawn independently and uniformly.

        Args:
            generator: all randomness comes from it.
            count: how many.
        """
        columns = [
            [options[i] for i in generator.integers(len(options), size=count)] for options in self.parameters.values()
        ]
        return [dict(zip(self.parameters, values, strict=True)) for values in zip(*columns, strict=True)]

    def sample(self, generator: np.random.Generator, count: int) -> Candidates:
        """Return the sub-networks of `draw`, to be priced together."""
        return self.candidates(
            {
                name: np.array(options)[generator.integers(len(options), size=count)]
                for name, options in self.parameters.items()
            }
        )

    def of(self, points: Sequence[Point]) -> Candidates:
        """Return points as sub-networks, to be priced together."""
        return self.candidates({name: np.array([point[name] for point in points]) for name in self.parameters})

    def candidates(self, values: Mapping[str, NDArray[Any]]) -> Candidates:
        """Return sub-networks, to be priced together.

        A stage loses its last blocks. Hidden channels are those that the block reads times its expand ratio, rounded as
        a net's table does.

        Args:
            values: an option for each of `parameters`, of each sub-network.
        """
        count = len(next(iter(values.values())))
        channels = np.tile(self._channels, (count, 1))
        for name, place in self._widths.items():
            channels[:, place] = self._rounded(self._channels[place] * values[f"width.{name}"], self._channels[place])
        kernels = np.tile(np.array([layer.kernel for layer in self._layers], np.int64), (count, 1))
        for block in self._blocks:
            wanted = channels[:, block.stream] * values[f"expand.{block.name}"]
            channels[:, block.hidden] = self._rounded(wanted, self._channels[block.hidden])
            kernels[:, block.layer] = values[f"kernel.{block.name}"]
        operators, places = np.zeros((count, len(self._layers)), np.int64), {n: i for i, n in enumerate(self.operators)}
        for place in self._operated:
            names = values[f"operator.{self._layers[place].name}"]
            operators[:, place] = [places[str(name)] for name in names]
        skipped = np.zeros((count, len(self.plan.skippable)), bool)
        for stream, lost in self._stages.items():
            for i, place in enumerate(lost, start=self.space.least_depth):
                skipped[:, place] = values[f"depth.{stream}"] <= i
        return Candidates(channels, kernels, operators, skipped)

    def _rounded(self, widths: NDArray[np.float64], most: int) -> NDArray[np.int64]:
        """Round widths as a net's table does; at most the largest network's."""
        values, inverse = np.unique(widths, return_inverse=True)
        rounded = np.array([make_divisible(round(float(value)), self.divisor) for value in values], np.int64)
        return np.minimum(rounded[inverse], most)

    def spec(self, point: Point, operates: bool = True) -> SubnetSpec:
        """Return a point as what a pass of the supernet uses.

        Args:
            point: of these choices.
            operates: whether layers compute with the point's operators; else all multiply.
        """
        one = self.of([point])
        skipped = frozenset(unit for unit, gone in zip(self.plan.skippable, one.skipped[0], strict=True) if gone)
        kernels, operators = [], []
        for layer, kernel, operator in zip(self._layers, one.kernels[0], one.operators[0], strict=True):
            if layer.unit in skipped:
                continue
            if kernel < layer.kernel:
                kernels.append((layer.name, int(kernel)))
            if operates and self.operators[operator] != MULT:
                operators.append((layer.name, self.operators[operator]))
        channels = tuple(int(each) for each in one.channels[0])
        return SubnetSpec(channels, kernels=tuple(kernels), skipped=skipped, operators=tuple(operators))


def _ends(name: str, options: Sequence[Any]) -> tuple[Any, Any]:
    return (options[0], options[0]) if name.startswith("operator.") else (options[0], options[-1])
