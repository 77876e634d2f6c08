"""Prices of many sub-networks of one plan at once: what an architecture search asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftaddaug.hardware.budget import KIB
from shiftaddaug.hardware.memory import VECTOR_BITS, WEIGHT_BITS, Held, held_values, reread_units
from shiftaddaug.hardware.price import layer_costs
from shiftaddaug.hardware.rules import MODES
from shiftaddaug.hardware.settings import Hardware
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.units import without
from shiftaddaug.operators.settings import OperatorSettings

WIDEST = 2**17
"""Channels that a layer may read or compute: above it, keys of layers would collide."""
KERNELS = 2**10
"""Kernels lie below it, for the same reason."""


@dataclass(frozen=True)
class Candidates:
    """Sub-networks of a plan, a row for each."""

    channels: NDArray[np.int64]
    """(candidates, spaces): active channels, in the order of `Plan.spaces`."""
    kernels: NDArray[np.int64]
    """(candidates, layers): in the order of `Plan.layers`."""
    operators: NDArray[np.int64]
    """(candidates, layers): places in the pricer's list of operators."""
    skipped: NDArray[np.bool_]
    """(candidates, units): in the order of `Plan.skippable`."""

    def __len__(self) -> int:
        return len(self.channels)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the fields, in order."""
        return self.channels, self.kernels, self.operators, self.skipped


class Pricer:
    """Prices sub-networks; what it has seen of a layer it keeps.

    Args:
        plan: whose sub-networks they are.
        operators: that layers may compute with, as operators or their settings.
        hardware: that computes them.
    """

    def __init__(self, plan: Plan, operators: Sequence[OperatorSettings], hardware: Hardware) -> None:
        self.plan, self.operators, self.hardware = plan, tuple(operators), hardware
        self.layers = plan.layers()
        self._index, self._units = plan.index(), {unit: i for i, unit in enumerate(plan.skippable)}
        self._tables = [_Table() for _ in self.layers]
        self._reread = reread_units(plan)
        self._held: dict[tuple[str, ...], list[Held]] = {}
        self._vectors = [
            (node, 2 if node.kind == "norm" else 1) for node in plan.nodes if node.kind == "norm" or node.bias
        ]

    def candidates(self, specs: Sequence[SubnetSpec], assignments: Sequence[Assignment[Any]]) -> Candidates:
        """Return sub-networks, given one by one, in the form that is priced.

        Args:
            specs: of the plan's sub-networks.
            assignments: the operators of each.

        Raises:
            ValueError: a spec that no sub-network of the plan has, or an operator that is not the pricer's.
        """
        for spec in specs:
            self.plan.check(spec)
        places = {operator: place for place, operator in enumerate(self.operators)}
        kernels = [dict(spec.kernels) for spec in specs]
        for assignment in assignments:
            for operator in assignment.operators():
                if operator not in places:
                    raise ValueError(f"op={operator.name}: none of the operators that are priced")
        return Candidates(
            np.array([spec.channels for spec in specs], np.int64),
            np.array([[each.get(layer.name, layer.kernel) for layer in self.layers] for each in kernels], np.int64),
            np.array([[places[each[layer.name]] for layer in self.layers] for each in assignments], np.int64),
            np.array([[unit in spec.skipped for unit in self._units] for spec in specs], bool).reshape(len(specs), -1),
        )

    def price(self, candidates: Candidates) -> dict[str, NDArray[np.float64]]:
        """Return what each candidate costs, under the names of `NetPrice.record`, with `macs` and `params`.

        Raises:
            UserError: as `price.price`.
        """
        channels, count = candidates.channels, len(candidates)
        layers = np.zeros((count, len(_Table.COLUMNS)))
        for place, layer in enumerate(self.layers):
            rows = self._alive(layer.unit, candidates)
            layers[rows] += self._layer(place, layer, candidates, rows)
        named = dict(zip(_Table.COLUMNS, layers.T, strict=True))
        vectors = np.zeros(count)
        for node, numbers in self._vectors:
            rows = self._alive(node.unit, candidates)
            vectors[rows] += numbers * channels[rows, self._index[node.space]]
        flash = np.ceil((named.pop("weight_bits") + vectors * VECTOR_BITS) / 8)
        weights = named.pop("weights")
        costs = {name: named[name] for name in named if self.hardware.accelerator is not None or name == "macs"}
        memory = {"peak_sram_kib": self._peaks(candidates) / KIB, "flash_kib": flash / KIB}
        return {**costs, "params": weights + vectors, **memory}

    def _peaks(self, candidates: Candidates) -> NDArray[np.float64]:
        """Return peak SRAM in bytes. What is held follows from which of the blocks of `reread_units` are skipped."""
        peaks, skipped = np.zeros(len(candidates)), candidates.skipped
        pattern = np.zeros(len(candidates), np.int64)
        for place, unit in enumerate(self._reread):
            pattern += skipped[:, self._units[unit]].astype(np.int64) << place
        for each in np.unique(pattern):
            rows = np.nonzero(pattern == each)[0]
            units = tuple(unit for place, unit in enumerate(self._reread) if each >> place & 1)
            some = Candidates(*(values[rows] for values in candidates.arrays()))
            peaks[rows] = self._peaks_without(units, some)
        return peaks

    def _peaks_without(self, units: tuple[str, ...], candidates: Candidates) -> NDArray[np.float64]:
        if units not in self._held:
            self._held[units] = held_values(without(self.plan, units), self.hardware.in_place_depthwise)
        peaks = np.zeros(len(candidates))
        for each in self._held[units]:
            rows = self._alive(each.unit, candidates)
            columns = [candidates.channels[rows, self._index[space]] for space in each.pixels]
            elements = sum(values * pixels for values, pixels in zip(columns, each.pixels.values(), strict=True))
            peaks[rows] = np.maximum(peaks[rows], elements)
        return peaks

    def _alive(self, unit: str, candidates: Candidates) -> Any:
        """Return the rows of the candidates that have a unit: all, where it cannot be skipped."""
        return np.nonzero(~candidates.skipped[:, self._units[unit]])[0] if unit in self._units else slice(None)

    def _layer(self, place: int, layer: Node, candidates: Candidates, rows: Any) -> NDArray[np.float64]:
        channels, sources = candidates.channels, self.plan.sources(layer)
        outputs = channels[rows, self._index[layer.space]]
        inputs = outputs if layer.depthwise else sum(channels[rows, self._index[space]] for space in sources)
        kernels = candidates.kernels[rows, place]
        _refuse_beyond(f"channels that {layer.name} reads", inputs, WIDEST)
        _refuse_beyond(f"channels that {layer.name} computes", outputs, WIDEST)
        _refuse_beyond(f"kernel of {layer.name}", kernels, KERNELS)
        key = ((inputs * WIDEST + outputs) * KERNELS + kernels) * len(self.operators)
        key = key + candidates.operators[rows, place]
        table = self._tables[place]
        unknown = table.unknown(key)
        table.add(unknown, [self._solved(layer, int(each)) for each in unknown])
        return table.rows(key)

    def _solved(self, layer: Node, key: int) -> list[float]:
        """Return the columns of a layer by its key."""
        rest, operator = divmod(key, len(self.operators))
        rest, kernel = divmod(rest, KERNELS)
        inputs, outputs = divmod(rest, WIDEST)
        arithmetic = self.operators[operator]
        weights = outputs * kernel**2 * (1 if layer.depthwise else inputs)
        costs = layer_costs(self.plan, layer, inputs, outputs, kernel, arithmetic, self.hardware)
        columns = [value for mode in MODES for value in ((costs[mode].energy, costs[mode].ms) if costs else (0.0, 0.0))]
        bits = min(arithmetic.arithmetic.weight_bits, WEIGHT_BITS)
        return [*columns, float(weights * prod(layer.size)), float(weights), float(weights * bits)]


def _refuse_beyond(what: str, values: NDArray[np.int64], limit: int) -> None:
    """Refuse numbers of which two different rows of a table could have one key."""
    beyond = values[(values < 1) | (values >= limit)]
    if len(beyond):
        raise ValueError(f"{what}: {beyond[0]}; must be 1 to {limit - 1}")


class _Table:
    """Rows by key, sorted: looked up for many candidates at once."""

    COLUMNS = (
        *(f"{name}_{mode}" for mode in MODES for name in ("energy_mj", "latency_ms")),
        "macs",
        "weights",
        "weight_bits",
    )

    def __init__(self) -> None:
        self._keys: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rows: NDArray[np.float64] = np.zeros((0, len(self.COLUMNS)))

    def unknown(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some keys that have no row, each once."""
        places = np.searchsorted(self._keys, keys)
        found = places < len(self._keys)
        found[found] = self._keys[places[found]] == keys[found]
        return np.unique(keys[~found])

    def add(self, keys: NDArray[np.int64], rows: list[list[float]]) -> None:
        """Add rows under keys that have none."""
        if not len(keys):
            return
        merged = np.concatenate([self._keys, keys])
        order = np.argsort(merged)
        self._keys = merged[order]
        self._rows = np.concatenate([self._rows, np.array(rows)])[order]

    def rows(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the rows of keys that have one."""
        return np.asarray(self._rows[np.searchsorted(self._keys, keys)])
