"""The figure shows the weights it is given; the csv holds the distances that were measured."""

import csv
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shiftaddaug.hybrid.fit_remap import LayerFit, fit_remap, layer_fits, pool_weights
from shiftaddaug.hybrid.remap import laplace_of_normal
from shiftaddaug.report.distributions import mean_fit, plot_distributions, write_fits


def normal(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MULT = {"stem.conv": 0.1 * normal(900), "classifier": 0.3 * normal(300, 1)}
MF = {name: 5 * laplace_of_normal(normal(w.numel(), 2)) for name, w in MULT.items()}


def test_csv_holds_the_distances(tmp_path: Path) -> None:
    rows = layer_fits(fit_remap(MULT, MF, "replace", relative=False), MULT, MF)
    write_fits(tmp_path / "fit.csv", rows)
    with (tmp_path / "fit.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["layer"] for row in read] == ["stem.conv", "classifier"]
    for ours, theirs in zip(read, rows, strict=True):
        assert ours == {key: str(value) for key, value in asdict(theirs).items()}
        assert float(ours["remap_to_mf"]) < 0.5 * float(ours["mult_to_mf"])


def test_mean_counts_every_weight_the_same() -> None:
    rows = [LayerFit("a", 30, 0.1, 0.2, 0.3, 0.4, 0.5), LayerFit("b", 10, 0.5, 0.6, 0.7, 0.8, 0.9)]
    mean = mean_fit(rows)
    assert (mean.layer, mean.weights) == ("all", 40)
    assert list(asdict(mean).values())[2:] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])


def drawn(path: Path, remapped: torch.Tensor) -> np.ndarray:
    """Pixels (H, W, 3) of the figure."""
    plot_distributions(path, "add", pool_weights(MULT, MF, relative=False), remapped, "weight")
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_figure_shows_the_remapped_weights_on_the_right_alone(tmp_path: Path) -> None:
    remap = fit_remap(MULT, MF, "replace", relative=False)
    remapped = torch.cat([remap(w) for w in MULT.values()])
    one, other = drawn(tmp_path / "a.png", remapped), drawn(tmp_path / "b.png", remapped / 3)
    assert one.shape == (700, 1300, 3)
    changed = (one != other).any(-1)
    assert changed[:350].any() and changed[350:].any()  # linear above, logarithmic below
    assert not changed[:, :800].any()
    assert changed[:, 870:].any()


def test_weights_without_spread_are_drawn(tmp_path: Path) -> None:
    pool = pool_weights({"a": normal(9)}, {"a": torch.zeros(9)}, relative=False)
    plot_distributions(tmp_path / "a.png", "add", pool, torch.zeros(9), "weight")
    assert (tmp_path / "a.png").stat().st_size > 1000
