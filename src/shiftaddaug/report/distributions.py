"""What a fitted remap does to the weights: a figure of their distributions, and a table of distances by layer."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftaddaug.hybrid.fit_remap import LayerFit, Pool, fit_laplace

BINS = 121
SHOWN = 0.999
"""Share of the weights that an axis holds."""


def write_fits(path: Path, rows: Sequence[LayerFit]) -> None:
    """A csv with a column for each field of `LayerFit`, a row for each layer."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(LayerFit)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def mean_fit(rows: Sequence[LayerFit]) -> LayerFit:
    """The distances' mean over the layers, each weight counting the same; the layer is called `all`."""
    total = sum(row.weights for row in rows)
    names = [field.name for field in fields(LayerFit)][2:]
    means = {name: sum(row.weights * getattr(row, name) for row in rows) / total for name in names}
    return LayerFit("all", total, **means)


def plot_distributions(path: Path, operator: str, pool: Pool, remapped: Tensor, unit: str) -> None:
    """Draw the weights of a pair of nets before and after the remap, densities above and their logarithms below.

    Left the multiplicative weights' z with the Gaussian; in the middle the MF weights with the Laplacian fitted to
    them; on the right the multiplicative weights as they are and remapped, over the MF weights.

    Args:
        path: of the png.
        operator: of the MF net, by name.
        pool: of the weights, see `fit_remap.pool_weights`.
        remapped: the multiplicative weights remapped, in the units of the pool.
        unit: what the weights are measured in, for the axes.
    """
    from matplotlib.figure import Figure

    mean, scale = fit_laplace(pool.mf)
    figure = Figure(figsize=(13, 7))
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.08, top=0.95, wspace=0.18, hspace=0.06)
    axes = figure.subplots(2, 3, sharex="col")
    for row, yscale in zip(axes, ("linear", "log"), strict=True):
        left, middle, right = row
        x = _draw(left, {"mult": pool.z})
        left.plot(x, torch.exp(-(x**2) / 2) / (2 * torch.pi) ** 0.5, "k--", label="Gaussian")
        x = _draw(middle, {operator: pool.mf})
        middle.plot(x, torch.exp(-(x - mean).abs() / scale) / (2 * scale), "k--", label=f"Laplacian, b = {scale:.3g}")
        _draw(right, {operator: pool.mf, "mult": pool.mult, "mult, remapped": remapped})
        for ax in row:
            ax.set_yscale(yscale)
    for ax, title in zip(axes[0], ("multiplicative", operator, "before and after"), strict=True):
        ax.set(title=title, ylim=(0, 1.6 * ax.patches[0].get_data().values.max()))
        ax.legend(loc="upper right")
    for ax, label in zip(axes[1], ("weight, standardised by layer", unit, unit), strict=True):
        ax.set_xlabel(label)
    axes[0][0].set_ylabel("density")
    axes[1][0].set_ylabel("density, logarithmic")
    figure.savefig(path, dpi=100)


def _draw(ax: Any, samples: dict[str, Tensor]) -> Tensor:
    """Draw histograms with common bins, for the range of the first sample; where their edges are."""
    low, high = _range(next(iter(samples.values())))
    edges = torch.linspace(low, high, BINS, dtype=torch.float64)
    for i, (label, sample) in enumerate(samples.items()):
        counts = torch.histogram(sample.cpu().double(), edges).hist
        density = counts / (sample.numel() * (edges[1] - edges[0]))
        ax.stairs(density.tolist(), edges.tolist(), fill=i == 0, alpha=0.4 if i == 0 else 1.0, label=label)
    return edges


def _range(sample: Tensor) -> tuple[float, float]:
    values = sample.flatten().sort().values
    beyond = int((1 - SHOWN) / 2 * values.numel())
    low, high = float(values[beyond]), float(values[values.numel() - 1 - beyond])
    margin = 0.1 * (high - low) or 0.5
    return low - margin, high + margin
