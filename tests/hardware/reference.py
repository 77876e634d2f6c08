"""The row-stationary simulator again, loop by loop in plain Python: an independent reference."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import inf, prod

from shiftaddaug.hardware.shapes import LayerShape


def splits(number: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ordered factorisations."""
    for factors in product([d for d in range(1, number + 1) if number % d == 0], repeat=parts):
        if prod(factors) == number:
            yield factors


def best(
    shape: LayerShape, mac: float, moves: Sequence[float], cycle: float, limits: dict[str, int]
) -> tuple[float, float] | None:
    """Energy in pJ and cycles (times their length) of one group's best tiling; None if there is none."""
    k, s = shape.kernel, shape.stride
    (h, w), (e, f) = shape.in_size, shape.out_size
    n, m, c = shape.batch, shape.outputs, shape.inputs
    found = []
    for (n0, n3), (m0, m1, m2, m3), (c0, c1, c2), (e1, e3) in product(
        splits(n, 2), splits(m, 4), splits(c, 3), splits(e, 2)
    ):
        if m0 > limits["filters"] or c0 * k >= limits["filter_rows"] or m0 * c0 * k >= limits["filter_words"]:
            continue
        if (e1 == 1 and not shape.is_vector) or m1 * c1 * e1 * k >= limits["elements"]:
            continue
        rows, columns = (e1 - 1) * s + shape.reach, (f - 1) * s + shape.reach
        if n0 * c1 * c0 * rows * columns + n0 * m2 * m1 * m0 * e1 * f >= limits["buffer_words"]:
            continue
        images, weights, results = n * h * w * c, k * k * c * m, n * e * f * m
        noc_input = m3 * m2 * m1 * k * e / h * images
        counts = (
            *(m3 * images, n3 * e3 * weights, results),
            *(m3 * m2 * images, max(2 * (c2 - 1), 1) * results),
            *(noc_input, n3 * e3 * e1 * weights, max(c2 * (c1 * k - 1), 1) * results),
            *(noc_input * m0 * k * f / w, n3 * e3 * e1 * f * n0 * weights),
            max(2 * c2 * c1 * k * (c0 * k - 1), 1) * results,
        )
        energy = sum(a * b for a, b in zip(counts, moves, strict=True)) + n * e * f * m * k * k * c * mac
        found.append((energy, n3 * n0 * m3 * m2 * m0 * c2 * c0 * e3 * f * k * cycle))
    if not found:
        return None
    energies, cycles = zip(*found, strict=True)
    nearest, chosen = inf, found[0]
    for pair in found:
        distance = (pair[0] - min(energies)) / max(energies) + (pair[1] - min(cycles)) / max(cycles)
        if distance < nearest - 1e-15:
            nearest, chosen = distance, pair
    return chosen
