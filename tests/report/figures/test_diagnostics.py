"""The figure of the diagnostics shows what the callback writes."""

import json
from pathlib import Path

import pytest

from shiftaddaug.report.figures.diagnostics import draw, read_diagnostics

ROWS = """\
epoch,step,name,effective_rank,max_rank,relative_update
0,1,blocks.0,4.0,8,
0,1,blocks.1,6.0,16,
0,1,stem.conv.weight,,,0.05
0,1,blocks.1.expand.conv.weight,,,0.002
1,6,blocks.0,6.0,8,
1,6,blocks.1,nan,16,
1,6,stem.conv.weight,,,0.025
1,6,blocks.1.expand.conv.weight,,,0.004
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "diagnostics.csv").write_text(ROWS)
    return tmp_path


def test_ranks_are_shares_of_what_they_can_be(folder: Path) -> None:
    read = read_diagnostics(folder / "diagnostics.csv")
    assert read["effective rank blocks.0"] == {0: 0.5, 1: 0.75}
    assert read["effective rank blocks.1"] == {0: 0.375, 1: pytest.approx(float("nan"), nan_ok=True)}
    assert read["relative update stem.conv.weight"] == {0: 0.05, 1: 0.025}
    assert len(read) == 4


def test_ranks_left_and_steps_right_in_the_colour_of_their_block(folder: Path) -> None:
    figure = draw(folder)
    assert figure is not None
    left, right = figure.axes
    ranks = {line.get_label(): line for line in left.get_lines()}
    assert list(ranks) == ["blocks.0", "blocks.1", "other layers"]
    assert list(ranks["blocks.0"].get_ydata()) == [0.5, 0.75]
    stem, expand = right.get_lines()
    assert (list(stem.get_ydata()), list(expand.get_ydata())) == ([0.05, 0.025], [0.002, 0.004])
    assert stem.get_color() == ranks["other layers"].get_color()
    assert expand.get_color() == ranks["blocks.1"].get_color() != ranks["blocks.0"].get_color()
    assert right.get_yscale() == "log"


def test_a_resumed_run_goes_on_from_the_one_before(folder: Path) -> None:
    (folder / "run.json").write_text(json.dumps({"resumed_from": None}))
    resumed = folder / "resumed"
    resumed.mkdir()
    (resumed / "run.json").write_text(json.dumps({"resumed_from": str(folder / "checkpoints" / "last.ckpt")}))
    (resumed / "diagnostics.csv").write_text(ROWS.splitlines()[0] + "\n1,6,blocks.0,2.0,8,\n")
    figure = draw(resumed)
    assert figure is not None
    assert list(figure.axes[0].get_lines()[0].get_ydata()) == [0.5, 0.25]


def test_steps_of_zero_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "diagnostics.csv").write_text(ROWS.splitlines()[0] + "\n0,1,stem.conv.weight,,,0\n")
    figure = draw(tmp_path)
    assert figure is not None
    assert figure.axes[1].get_yscale() == "linear"


@pytest.mark.parametrize("content", [None, "", ROWS.splitlines()[0] + "\n", "0,1,blocks.0,4.0"])
def test_there_is_none_without_values(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "diagnostics.csv").write_text(content)
    assert draw(tmp_path) is None
