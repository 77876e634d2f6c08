"""Energy and latency of one layer: its best tiling, and what that moves where."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.rules import Unit
from shiftaddaug.hardware.settings import Accelerator, ArraySettings
from shiftaddaug.hardware.shapes import LayerShape
from shiftaddaug.hardware.tilings import Tilings, tilings_of

PICO_IN_MILLI = 1e9
MOST_PADDING = 64
"""Rows that are added at most."""

SLICES = {"dram": slice(0, 3), "buffer": slice(3, 5), "noc": slice(5, 8), "rf": slice(8, 11)}
"""Rows of `Tilings.moves` by memory."""


@dataclass(frozen=True)
class Cost:
    """Energy by part, in mJ, and latency. Costs add up."""

    compute: float = 0.0
    rf: float = 0.0
    noc: float = 0.0
    buffer: float = 0.0
    dram: float = 0.0
    norm: float = 0.0
    """Energy of the batch-norm after a layer."""
    cycles: float = 0.0
    ms: float = 0.0
    padded_rows: int = 0
    """Rows of outputs that were added because nothing divides the layer's."""

    @property
    def energy(self) -> float:
        """Energy of all parts, mJ."""
        return self.compute + self.rf + self.noc + self.buffer + self.dram + self.norm

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


PARTS = ("compute", "rf", "noc", "buffer", "dram", "norm")
"""Parts of a cost's energy."""


@lru_cache(2**16)
def layer_cost(shape: LayerShape, accelerator: Accelerator, unit: Unit) -> Cost | None:
    """Return what a layer costs with its best tiling; None if it has none.

    The best is the one for which (E - min E) / max E + (L - min L) / max L is least, over all tilings that the array
    can work with, E being energy and L latency: that of the simulator of ShiftAddNAS.

    Args:
        shape: of the layer.
        accelerator: that computes it.
        unit: what its operator's arithmetic costs there.
    """
    limits = accelerator.limits()
    found = _tilings(shape, limits, accelerator.pad)
    if found is None:
        return None
    added, (shape, tilings) = found[0].out_size[0] - shape.out_size[0], found
    compute = shape.macs / shape.groups * unit.mac
    energies = np.array(unit.moves) @ tilings.moves + compute
    latencies = tilings.cycles * unit.cycle
    distance = (energies - energies.min()) / (energies.max() or 1)
    distance += (latencies - latencies.min()) / latencies.max()
    best = int(np.argmin(distance))
    moved = tilings.moves[:, best] * np.array(unit.moves) * shape.groups / PICO_IN_MILLI
    cycles = float(tilings.cycles[best]) * shape.groups
    parts = {name: float(moved[rows].sum()) for name, rows in SLICES.items()}
    return Cost(
        compute=compute * shape.groups / PICO_IN_MILLI,
        **parts,
        cycles=cycles,
        ms=cycles * unit.cycle / (accelerator.clock_mhz * 1e3),
        padded_rows=added,
    )


def _tilings(shape: LayerShape, limits: ArraySettings, pad: bool) -> tuple[LayerShape, Tilings] | None:
    """Return a layer's tilings; with `pad`, those of the layer with as few more rows as give it some."""
    for rows in range(MOST_PADDING + 1 if pad else 1):
        padded = shape
        if rows:
            (height, width), (out_height, out_width) = shape.in_size, shape.out_size
            sizes = (height + rows * shape.stride, width), (out_height + rows, out_width)
            padded = replace(shape, in_size=sizes[0], out_size=sizes[1])
        tilings = tilings_of(padded, limits)
        if len(tilings.cycles):
            return padded, tilings
    return None


def no_tiling(name: str, shape: LayerShape, accelerator: Accelerator, hardware: str) -> UserError:
    """Return the answer to a layer that the array cannot work on: the limits that it meets, and what helps."""
    limits, unmet = accelerator.limits(), _unmet(shape, accelerator)
    reasons = [NEEDS[key].format(kernel=shape.kernel, limit=getattr(limits, key)) for key in unmet if key in NEEDS]
    remedies = [f"a larger hardware.accelerator.array.{key}" for key in unmet if key in NEEDS]
    if "buffer_words" in unmet:
        remedies[-1] += " or smaller images"
    if "pad" in unmet:
        rows = shape.out_size[0]
        one = "one row of outputs of several rows of inputs is not spread over elements"
        many = f"its {rows} rows have no divisor besides 1 that {limits.elements} elements can work on at once"
        reasons.append(one if rows == 1 else many)
        remedies.append("hardware.accelerator.pad=true prices it with more rows")
    return UserError(
        f"hardware={hardware}: layer {name} has no tiling: {'; '.join(reasons)}; options: {', and '.join(remedies)}"
    )


NEEDS: Mapping[str, str] = {
    "filter_rows": "a row of its filter has {kernel} values, which must be fewer than {limit}",
    "filter_words": "the weights of an element, {kernel} at least, must be fewer than {limit}",
    "elements": "{limit} elements are too few for the {kernel} rows of its filter",
    "buffer_words": "a buffer of {limit} words is too small for its inputs and outputs",
}
"""Limits that a layer may meet, and what they ask of it."""
WITHOUT_LIMIT = 2**31


def _unmet(shape: LayerShape, accelerator: Accelerator) -> list[str]:
    """Return the fewest limits that have to give way for a layer to have a tiling, and `pad` if it needs more rows."""
    limits, unmet = accelerator.limits(), list[str]()
    free = replace(limits, **dict.fromkeys(NEEDS, WITHOUT_LIMIT))
    for key in NEEDS:
        limited = replace(free, **{key: getattr(limits, key)})
        if _tilings(shape, limited, pad=True) is None:
            unmet.append(key)
        else:
            free = limited
    return unmet if accelerator.pad or _tilings(shape, free, pad=False) is not None else [*unmet, "pad"]
