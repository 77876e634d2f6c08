"""What a fitted remap does to the weights: their distributions, and a table of distances by layer."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftaddaug.files import write_csv
from shiftaddaug.hybrid.fit_remap import LayerFit, Pool, fit_laplace

BINS = 121
SHOWN = 0.999
"""Share of the weights that the bins hold."""


def write_fits(path: Path, rows: Sequence[LayerFit]) -> None:
    """A csv with a column for each field of `LayerFit`, a row for each layer."""
    write_csv(path, [field.name for field in fields(LayerFit)], [asdict(row) for row in rows])


def mean_fit(rows: Sequence[LayerFit]) -> LayerFit:
    """The distances' mean over the layers, each weight counting the same; the layer is called `all`."""
    total = sum(row.weights for row in rows)
    names = [field.name for field in fields(LayerFit)][2:]
    means = {name: sum(row.weights * getattr(row, name) for row in rows) / total for name in names}
    return LayerFit("all", total, **means)


def distributions(operator: str, pool: Pool, remapped: Tensor, unit: str) -> dict[str, Any]:
    """Densities of the weights of a pair of nets before and after the remap, for distributions.json.

    Left the multiplicative weights' z with the Gaussian; in the middle the MF weights with the Laplacian fitted to
    them; on the right the multiplicative weights as they are and remapped, over the MF weights.

    Args:
        operator: of the MF net, by name.
        pool: of the weights, see `fit_remap.pool_weights`.
        remapped: the multiplicative weights remapped, in the units of the pool.
        unit: what the weights are measured in, for the axes.

    Returns:
        `panels`, each with title, label of the axis, edges of the bins, histograms and curves at the edges by label.
    """
    mean, scale = fit_laplace(pool.mf)
    left = _panel("multiplicative", "weight, standardised by layer", {"mult": pool.z})
    x = torch.tensor(left["edges"], dtype=torch.float64)
    left["curves"] = {"Gaussian": (torch.exp(-(x**2) / 2) / (2 * torch.pi) ** 0.5).tolist()}
    middle = _panel(operator, unit, {operator: pool.mf})
    x = torch.tensor(middle["edges"], dtype=torch.float64)
    laplacian = torch.exp(-(x - mean).abs() / scale) / (2 * scale)
    middle["curves"] = {f"Laplacian, b = {scale:.3g}": laplacian.tolist()}
    right = _panel("before and after", unit, {operator: pool.mf, "mult": pool.mult, "mult, remapped": remapped})
    return {"panels": [left, middle, right]}


def _panel(title: str, label: str, samples: dict[str, Tensor]) -> dict[str, Any]:
    """Histograms with common bins, for the range of the first sample."""
    low, high = _range(next(iter(samples.values())))
    edges = torch.linspace(low, high, BINS, dtype=torch.float64)
    densities = {}
    for name, sample in samples.items():
        counts = torch.histogram(sample.cpu().double(), edges).hist
        densities[name] = (counts / (sample.numel() * (edges[1] - edges[0]))).tolist()
    return {"title": title, "label": label, "edges": edges.tolist(), "densities": densities, "curves": {}}


def _range(sample: Tensor) -> tuple[float, float]:
    values = sample.flatten().sort().values
    beyond = int((1 - SHOWN) / 2 * values.numel())
    low, high = float(values[beyond]), float(values[values.numel() - 1 - beyond])
    margin = 0.1 * (high - low) or 0.5
    return low - margin, high + margin
