"""The figure of predictions shows what the callback has written; `tests/commands/test_segmentation.py` sees a run."""

from pathlib import Path

import numpy as np

from shiftaddaug.report.figures.predictions import draw


def test_nothing_of_a_run_that_has_none(tmp_path: Path) -> None:
    assert draw(tmp_path) is None


def test_rows_are_images_labels_and_predictions(tmp_path: Path) -> None:
    levels = {"images": 10, "wanted": 20, "predicted": 30}
    pictures = {name: np.full((2, 3, 5, 7), level, np.uint8) for name, level in levels.items()}
    np.savez(tmp_path / "predictions.npz", names=np.array([], str), colours=np.zeros((0, 3), np.uint8), **pictures)
    figure = draw(tmp_path)
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["image", "wanted", "predicted"]
    (sheet,) = (image.get_array() for image in axes.get_images())
    assert sheet is not None and sheet.shape == (3 * 9, 2 * 11, 3)
    for row, level in enumerate(levels.values()):
        assert (sheet[9 * row : 9 * row + 5, 11:18] == level).all()
