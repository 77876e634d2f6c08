"""Predictions as files: rows of a csv, and masks as PNGs. Imports no torch."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shiftaddaug.errors import printable
from shiftaddaug.files import write_whole

PREDICTIONS = "predictions.csv"
"""File of what was predicted of each image."""
DIGITS = 6
"""Decimals of scores and shares in files."""


def class_name(label: int, classes: Sequence[str] | None) -> str:
    """Return the name of a class, fit for a file; its number if classes have no names."""
    return str(label) if classes is None else printable(classes[label])


def numbered(pairs: Sequence[tuple[str, float]], value: str) -> dict[str, Any]:
    """Return names and values as cells of a row: class, <value>, class_2, <value>_2, and so on."""
    cells: dict[str, Any] = {}
    for place, (name, number) in enumerate(pairs, 1):
        end = "" if place == 1 else f"_{place}"
        cells |= {f"class{end}": name, f"{value}{end}": round(number, DIGITS)}
    return cells


def write_mask(path: Path, labels: Any, colours: Mapping[int, tuple[int, int, int]]) -> None:
    """Write labels uint8 (H, W) as a PNG whose pixels are the labels, and whose palette has their colours."""
    from PIL import Image

    image = Image.fromarray(labels)
    image.putpalette([level for label in range(256) for level in colours.get(label, (0, 0, 0))])
    content = io.BytesIO()
    image.save(content, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())
