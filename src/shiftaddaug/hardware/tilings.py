"""Row-stationary tilings of a layer: which there are, and how often each moves what.

The dataflow is that of Eyeriss (Chen et al., ISCA 2016), as the simulator of ShiftAddNAS (arXiv 2203.04452, in its
code) counts it. A loop is split into factors, of which the last is the outermost:

    batch = N0 N3, outputs = M0 M1 M2 M3, inputs = C0 C1 C2, rows of the output = E1 E3

An element works on M0 filters and C0 channels at once, M1 C1 E1 K elements work at once, and the buffer holds the
inputs and outputs of N0 images, M2 M1 M0 filters, C1 C0 channels and E1 rows.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shiftaddaug.hardware.settings import ArraySettings
from shiftaddaug.hardware.shapes import LayerShape

MOVES = (
    "dram_input",
    "dram_weight",
    "dram_output",
    "buffer_input",
    "buffer_output",
    "noc_input",
    "noc_weight",
    "noc_psum",
    "rf_input",
    "rf_weight",
    "rf_psum",
)
"""Rows of `Tilings.moves`: between which memories, and what."""

KEPT = 256
"""Layers whose tilings are kept in memory: a megabyte each at most, as a rule."""


@dataclass(frozen=True)
class Tilings:
    """All tilings that the array can work with."""

    moves: NDArray[np.float64]
    """(moves, tilings): words moved, of one group."""
    cycles: NDArray[np.float64]
    """(tilings,): cycles of one group; memory is taken to be fast enough."""


@lru_cache
def factorisations(number: int, parts: int) -> NDArray[np.int64]:
    """Return all ordered factorisations (count, parts) of a number."""
    if parts == 1:
        return np.array([[number]])
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    rests = [factorisations(number // d, parts - 1) for d in divisors]
    return np.concatenate([np.insert(rest, 0, d, axis=1) for d, rest in zip(divisors, rests, strict=True)])


@lru_cache(KEPT)
def tilings_of(shape: LayerShape, array: ArraySettings) -> Tilings:
    """Return the tilings of a layer; none where nothing fits."""
    k = shape.kernel
    m, c, e = _splits(shape, array)
    shared = m[:, 0, None, None] * (c[None, :, 0, None] * k) < array.filter_words
    busy = m[:, 1, None, None] * c[None, :, 1, None] * (e[None, None, :, 0] * k) < array.elements
    chosen = np.nonzero(shared & busy)
    m, c, e = m[chosen[0]], c[chosen[1]], e[chosen[2]]
    found = []
    for n0, n3 in factorisations(shape.batch, 2):
        fits = _buffered(shape, n0, m, c, e) < array.buffer_words
        found.append(_counted(shape, n0, n3, m[fits], c[fits], e[fits]))
    moves, cycles = zip(*found, strict=True)
    return Tilings(np.concatenate(moves, 1), np.concatenate(cycles))


def _splits(shape: LayerShape, array: ArraySettings) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return (count, 4) of outputs, (count, 3) of inputs and (count, 2) of rows, by what bounds each alone."""
    m, c, e = factorisations(shape.outputs, 4), factorisations(shape.inputs, 3), factorisations(shape.out_size[0], 2)
    if not shape.is_vector:
        e = e[e[:, 0] != 1]  # as the published code has it
    return (
        m[m[:, 0] <= array.filters],
        c[c[:, 0] * shape.kernel < array.filter_rows],
        e[e[:, 0] * shape.kernel < array.elements],
    )


def _buffered(
    shape: LayerShape, n0: int, m: NDArray[np.int64], c: NDArray[np.int64], e: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the words that lie in the buffer."""
    rows, columns = (e[:, 0] - 1) * shape.stride + shape.reach, (shape.out_size[1] - 1) * shape.stride + shape.reach
    inputs = n0 * c[:, 1] * c[:, 0] * rows * columns
    outputs = n0 * m[:, 2] * m[:, 1] * m[:, 0] * e[:, 0] * shape.out_size[1]
    return np.asarray(inputs + outputs)


def _counted(
    shape: LayerShape, n0: int, n3: int, m: NDArray[np.int64], c: NDArray[np.int64], e: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return moves and cycles."""
    k, (height, width), (rows, columns) = shape.kernel, shape.in_size, shape.out_size
    m0, m1, m2, m3 = m.T.astype(float)
    c0, c1, c2 = c.T.astype(float)
    e1, e3 = e.T.astype(float)
    inputs = float(shape.batch * height * width * shape.inputs)
    weights = float(k * k * shape.inputs * shape.outputs)
    outputs = float(shape.batch * rows * columns * shape.outputs)
    noc_input = m3 * m2 * m1 * k * (rows / height) * inputs
    moves = (
        m3 * inputs,
        n3 * e3 * weights,
        np.full_like(m0, outputs),
        m3 * m2 * inputs,
        np.maximum(2 * (c2 - 1), 1) * outputs,
        noc_input,
        n3 * e3 * e1 * weights,
        np.maximum(c2 * (c1 * k - 1), 1) * outputs,
        noc_input * m0 * k * columns / width,
        n3 * e3 * e1 * columns * n0 * weights,
        np.maximum(2 * c2 * c1 * k * (c0 * k - 1), 1) * outputs,
    )
    cycles = n3 * n0 * m3 * m2 * m0 * c2 * c0 * e3 * columns * k
    return np.stack(moves), cycles
