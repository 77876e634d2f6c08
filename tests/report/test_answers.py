"""Files of what was said of each image, and the confusion matrix that is drawn of them."""

import csv
from pathlib import Path

from shiftaddaug.report.answers import Answer, write_answers
from shiftaddaug.report.figures.confusion import draw

ANSWERS = [(0, 0), (0, 1), (0, 0), (2, 1)]


def lines(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_by_hand(tmp_path: Path) -> None:
    answers = [Answer(i, None, label, said, 0.25 + i / 3) for i, (label, said) in enumerate(ANSWERS)]
    write_answers(tmp_path, answers, 3, ("cat", "dog, big", "cow"))
    assert lines(tmp_path / "predictions.csv")[:3] == [
        ["index", "label", "predicted", "score"],
        ["0", "cat", "cat", "0.25"],
        ["1", "cat", "dog, big", "0.583333"],
    ]
    assert lines(tmp_path / "per_class.csv") == [
        ["class", "images", "top1_percent"],
        ["cat", "3", "66.67"],
        ["dog, big", "0", ""],
        ["cow", "1", "0.0"],
    ]
    assert lines(tmp_path / "confusion.csv") == [
        ["label", "cat", "dog, big", "cow"],
        ["cat", "2", "1", "0"],
        ["dog, big", "0", "0", "0"],
        ["cow", "0", "1", "0"],
    ]
    figure = draw(tmp_path)
    assert figure is not None
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog, big", "cow"]
    shares = axes.get_images()[0].get_array()
    assert shares is not None and shares.tolist() == [[2 / 3, 1 / 3, 0], [0, 0, 0], [0, 1, 0]]


def test_files_and_names_that_are_no_names(tmp_path: Path) -> None:
    write_answers(tmp_path, [Answer(0, "a/b.png", 1, 1, 1.0)], 3, ("x", "x", "label"))
    assert lines(tmp_path / "predictions.csv")[1] == ["a/b.png", "x (1)", "x (1)", "1.0"]
    assert lines(tmp_path / "confusion.csv")[0] == ["label", "x (0)", "x (1)", "label (2)"]
    write_answers(tmp_path, [Answer(0, "a/b.png", 1, 1, 1.0)], 2, None)
    assert lines(tmp_path / "confusion.csv") == [["label", "0", "1"], ["0", "0", "0"], ["1", "0", "1"]]


def test_nothing_is_drawn_where_nothing_was_written(tmp_path: Path) -> None:
    assert draw(tmp_path) is None
