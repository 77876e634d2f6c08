"""The figure shows the recorded densities, as they are and as logarithms."""

import math
from pathlib import Path

import pytest

from shiftaddaug.report.drawing import draw_figures
from shiftaddaug.report.figures.distributions import draw
from shiftaddaug.report.results import write_json

PANELS = [
    {"title": "mult", "label": "sigmas", "edges": [-1.0, 0.0, 1.0], "densities": {"mult": [0.25, 0.75]},
     "curves": {"Gaussian": [0.1, 0.4, 0.1]}},
    {"title": "both", "label": "weight", "edges": [0.0, 2.0, 4.0], "densities": {"add": [0.5, 0.0], "mult": [0.2, 0.3]},
     "curves": {}},
]  # fmt: skip


def test_panels_are_drawn_twice(tmp_path: Path) -> None:
    write_json(tmp_path / "distributions.json", {"panels": PANELS})
    figure = draw(tmp_path)
    assert figure is not None
    above, below = figure.axes[:2], figure.axes[2:]
    assert [axes.get_yscale() for axes in figure.axes] == ["linear"] * 2 + ["log"] * 2
    assert [axes.get_title() for axes in above] == ["mult", "both"]
    assert [axes.get_xlabel() for axes in below] == ["sigmas", "weight"]
    for row in (above, below):
        for axes, panel in zip(row, PANELS, strict=True):
            shown = {stairs.get_label(): stairs.get_data() for stairs in axes.patches}
            assert {label: data.values.tolist() for label, data in shown.items()} == panel["densities"]
            assert all(data.edges.tolist() == panel["edges"] for data in shown.values())
            assert {line.get_label(): line.get_ydata().tolist() for line in axes.get_lines()} == panel["curves"]
    assert above[0].get_ylim() == pytest.approx((0, 1.2))


@pytest.mark.parametrize("spread", [0.0, math.nan])
def test_weights_without_spread_are_drawn(spread: float, tmp_path: Path) -> None:
    """Whose Laplacian is no number."""
    panels = [{**panel, "curves": {"Laplacian": [spread, math.nan, math.inf]}} for panel in PANELS]
    write_json(tmp_path / "distributions.json", {"panels": panels})
    draw_figures(tmp_path)
    assert (tmp_path / "distributions.png").stat().st_size > 1000


def test_there_is_none_without_a_fit(tmp_path: Path) -> None:
    assert draw(tmp_path) is None
