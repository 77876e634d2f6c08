"""Which layers multiply, and which extra blocks are active, given the share of training. Imports no torch.

Pure functions of that share: what a resumed run does follows from where it is. Units (layers, blocks) take their turn
one by one in equal slots of [start, end]; with all slots over, nothing is left of the schedule.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.nets.assignment import select_layers
from shiftaddaug.nets.plan import Plan
from shiftaddaug.settings import Granularity, Order, Share, check_fields

ROUNDING = 1e-9
"""Shares of training are quotients: this far before its end a slot is over."""


def slots_over(units: int, start: float, end: float, progress: float) -> tuple[int, float]:
    """How many units' slots are over at `progress`, and the share in [0, 1) of the next one's that has passed."""
    if progress >= end - ROUNDING:
        return units, 0.0
    if progress <= start:
        return 0, 0.0
    position = units * (progress - start) / (end - start)
    over = int(position + ROUNDING)
    passed = position - over
    return over, passed if passed > ROUNDING else 0.0


def epochs_until(end: float, epochs: int) -> int:
    """Return how many epochs a run has to train until one of them is after the end of a schedule.

    Args:
        end: share of training, 0 in the first epoch and 1 in the last.
        epochs: of the whole run.
    """
    return math.ceil(end * (epochs - 1) - ROUNDING) + 1


@dataclass(frozen=True)
class Conversion:
    """Block-variant training (ShiftAddAug, arXiv 2407.02881): layers multiply first, and turn one by one.

    Raises:
        UserError: a field outside its range.
    """

    start: Share = 0.0
    end: Share = 0.5
    order: Order = "shallow_to_deep"
    granularity: Granularity = "layer"
    blend: bool = False
    """Mix the two results over a layer's slot; else the layer turns at its slot's end."""

    def __post_init__(self) -> None:
        check_fields("callbacks.block_variant", self)
        _check_order("block_variant", self.start, self.end)

    def units(self, plan: Plan, exempt: Collection[str]) -> list[tuple[str, ...]]:
        """Names of the layers that turn together, in the order in which they do.

        Args:
            plan: of the target.
            exempt: those that multiply for good: groups or names, as `net.mult_layers`.
        """
        multiplied = select_layers(plan, exempt)
        units: dict[str, list[str]] = {}
        for layer in plan.layers():
            if layer.name not in multiplied:
                unit = layer.unit if self.granularity == "block" and layer.unit else layer.name
                units.setdefault(unit, []).append(layer.name)
        ordered = [tuple(names) for names in units.values()]
        return ordered if self.order == "shallow_to_deep" else ordered[::-1]

    def schedule(
        self, plan: Plan, exempt: Collection[str], progress: float
    ) -> tuple[frozenset[str], tuple[tuple[str, float], ...]]:
        """What a `SubnetSpec` of this moment holds as `multiplied` and as `blends`.

        Args:
            plan: of the target.
            exempt: as in `units`. Their operator is multiplication: they are in neither result.
            progress: share of training, in [0, 1].
        """
        units = self.units(plan, exempt)
        over, passed = slots_over(len(units), self.start, self.end, progress)
        blends: tuple[tuple[str, float], ...] = ()
        if self.blend and passed:
            blends = tuple((name, passed) for name in units[over])
            over += 1
        return frozenset(name for unit in units[over:] for name in unit), blends


@dataclass(frozen=True)
class Retirement:
    """Depth augmentation: extra blocks start in the target, and leave it one by one, the deepest first.

    Raises:
        UserError: a field outside its range.
    """

    start: Share = 0.25
    end: Share = 0.75
    fade: bool = True
    """Let the factor on a block's residual branch fall to 0 over its slot; else it is cut at the slot's end."""

    def __post_init__(self) -> None:
        check_fields("callbacks.retire_depth", self)
        _check_order("retire_depth", self.start, self.end)

    def schedule(self, extras: Sequence[str], progress: float) -> tuple[tuple[str, float], ...]:
        """Return the extra blocks that are active at this moment, and the factors on their residual branches.

        Args:
            extras: names of the extra blocks, in forward order.
            progress: share of training, in [0, 1].
        """
        over, passed = slots_over(len(extras), self.start, self.end, progress)
        active = [(name, 1.0) for name in extras[: len(extras) - over]]
        if self.fade and passed:
            active[-1] = (active[-1][0], 1.0 - passed)
        return tuple(active)


TIMETABLES = {
    "shiftaddaug.callbacks.block_variant.BlockVariant": Conversion,
    "shiftaddaug.callbacks.depth.RetireDepth": Retirement,
}
"""Settings of callbacks, by what a node of configs/callbacks names with `_target_`."""


def check_timetables(callbacks: Mapping[str, Any]) -> None:
    """Refuse a schedule that ends before it begins, before the callback is built.

    Args:
        callbacks: nodes of the `callbacks` group, their values checked.

    Raises:
        UserError: the first one.
    """
    for node in callbacks.values():
        timetable = TIMETABLES.get(node.get("_target_", "")) if node else None
        if timetable is not None:
            timetable(**{key: value for key, value in node.items() if not key.startswith("_")})


def _check_order(name: str, start: float, end: float) -> None:
    if start > end:
        raise UserError(f"callbacks.{name}.start={start}: must not be after callbacks.{name}.end={end}")
