"""The curves show the recorded values, and nothing where nothing is recorded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shiftaddaug.report.figures.curves import draw

METRICS = """\
epoch,lr,step,train/loss,val/top1
0,0.1,0,,
0,,1,2.5,
0,,1,,0.25
1,,3,1.5,
2,,5,,0.5
"""


def lines(metrics: str, folder: Path) -> list[dict[str, Any]]:
    """What each panel shows: epochs and values by label."""
    (folder / "metrics.csv").write_text(metrics)
    figure = draw(folder)
    assert figure is not None
    return [
        {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}
        for axes in figure.axes
    ]


def test_losses_left_and_accuracy_right(tmp_path: Path) -> None:
    assert lines(METRICS, tmp_path) == [{"train/loss": ([0, 1], [2.5, 1.5])}, {"val/top1": ([0, 2], [0.25, 0.5])}]


def test_epochs_of_a_resumed_run_come_first(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "first" / "metrics.csv").write_text("epoch,step,train/loss\n0,1,3.0\n1,2,9.0\n")
    resumed = {"resumed_from": str(tmp_path / "first" / "checkpoints" / "last.ckpt")}
    (tmp_path / "second" / "run.json").write_text(json.dumps(resumed))
    shown = lines("epoch,step,train/loss\n1,2,2.0\n", tmp_path / "second")
    assert shown == [{"train/loss": ([0, 1], [3.0, 2.0])}, {}]


@pytest.mark.filterwarnings("error")
def test_of_a_run_stopped_before_its_first_validation(tmp_path: Path) -> None:
    assert lines("epoch,step,lr,train/loss\n0,0,0.1,\n0,1,,2.5\n", tmp_path)[1] == {}


@pytest.mark.parametrize("metrics", [None, "epoch,step,lr\n0,0,0.1\n"])
def test_there_are_none_before_the_first_epoch_has_ended(metrics: str | None, tmp_path: Path) -> None:
    if metrics is not None:
        (tmp_path / "metrics.csv").write_text(metrics)
    assert draw(tmp_path) is None


def test_the_picture_is_of_the_size_it_always_had(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    figure = draw(tmp_path)
    assert figure is not None
    assert np.array_equal(figure.get_size_inches() * figure.dpi, [1000, 400])
