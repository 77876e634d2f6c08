"""What a classifier said of each image of a split, as files: predictions.csv, per_class.csv, confusion.csv."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftaddaug.files import write_csv
from shiftaddaug.report.predictions import DIGITS, PREDICTIONS, class_name

PER_CLASS, CONFUSION = "per_class.csv", "confusion.csv"
"""Accuracy of each class; counts of images by their label (rows) and by what was predicted (columns)."""
LABEL = "label"
"""First column of confusion.csv."""


@dataclass(frozen=True)
class Answer:
    """What was said of one image."""

    number: int
    """Place of the image in its split."""
    file: str | None
    """File of the image, if it has one of its own."""
    label: int
    predicted: int
    score: float
    """Softmax of the class that is predicted."""


def write_answers(folder: Path, answers: Sequence[Answer], count: int, classes: Sequence[str] | None) -> None:
    """Write the three files.

    Args:
        folder: of the files.
        answers: in the order of images.
        count: of classes.
        classes: names of the classes; None has them called by their numbers.

    Raises:
        UserError: they cannot be written.
    """
    names = _names(count, classes)
    place = "index" if any(answer.file is None for answer in answers) else "file"
    rows = [
        {
            place: answer.number if place == "index" else answer.file,
            "label": names[answer.label],
            "predicted": names[answer.predicted],
            "score": round(answer.score, DIGITS),
        }
        for answer in answers
    ]
    matrix = [[0] * count for _ in range(count)]
    for answer in answers:
        matrix[answer.label][answer.predicted] += 1
    counted = [{LABEL: name, **dict(zip(names, row, strict=True))} for name, row in zip(names, matrix, strict=True)]
    write_csv(folder / PREDICTIONS, (place, "label", "predicted", "score"), rows)
    write_csv(folder / PER_CLASS, ("class", "images", "top1_percent"), _accuracies(names, matrix))
    write_csv(folder / CONFUSION, (LABEL, *names), counted)


def _names(count: int, classes: Sequence[str] | None) -> list[str]:
    """Return a name for each class, no two alike, and none that is the title of the first column."""
    names = [class_name(label, classes) for label in range(count)]
    seen = [LABEL, *names]
    return [name if seen.count(name) == 1 else f"{name} ({label})" for label, name in enumerate(names)]


def _accuracies(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Rows of per_class.csv; the accuracy of a class without images stays empty."""
    rows = []
    for label, (name, counts) in enumerate(zip(names, matrix, strict=True)):
        images = sum(counts)
        accuracy = round(100 * counts[label] / images, 2) if images else ""
        rows.append({"class": name, "images": images, "top1_percent": accuracy})
    return rows
