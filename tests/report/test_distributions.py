"""Densities are of the weights that are given; the csv holds the distances that were measured."""

import csv
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from shiftaddaug.hybrid.fit_remap import LayerFit, fit_remap, layer_fits, pool_weights
from shiftaddaug.hybrid.remap import laplace_of_normal
from shiftaddaug.report.distributions import distributions, mean_fit, write_fits


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


def test_densities_are_of_the_weights_given() -> None:
    pool = pool_weights(MULT, MF, relative=False)
    left, middle, right = distributions("add", pool, pool.mult / 3, "weight")["panels"]
    assert [panel["title"] for panel in (left, middle, right)] == ["multiplicative", "add", "before and after"]
    assert list(right["densities"]) == ["add", "mult", "mult, remapped"]
    assert right["densities"]["add"] == middle["densities"]["add"]
    for panel, sample in ((left, pool.z), (middle, pool.mf)):
        edges = torch.tensor(panel["edges"], dtype=torch.float64)
        wanted = torch.histogram(sample.double(), edges, density=False).hist / (len(sample) * (edges[1] - edges[0]))
        assert next(iter(panel["densities"].values())) == wanted.tolist()
        mass = float(sum(next(iter(panel["curves"].values())))) * float(edges[1] - edges[0])
        assert mass == pytest.approx(1, abs=0.02)
    assert torch.tensor(right["densities"]["mult, remapped"]).max() > torch.tensor(right["densities"]["mult"]).max()


def test_weights_without_spread_have_densities() -> None:
    pool = pool_weights({"a": normal(9)}, {"a": torch.zeros(9)}, relative=False)
    panel = distributions("add", pool, torch.zeros(9), "weight")["panels"][1]
    assert max(panel["densities"]["add"]) == pytest.approx(1 / (panel["edges"][1] - panel["edges"][0]))
