"""What runs have recorded is read at one door, which answers damage in one line."""

import json
from pathlib import Path

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.report.recorded import read_results

GOOD = {"params": 5, "macs": 6, "test_top1_percent": 50.5, "val_top1_percent": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"[1]", "cannot be read .TypeError: holds no group of keys"),
        (b"\xff{}", "cannot be read .UnicodeDecodeError"),
        (b"[" * 100_000, "cannot be read .RecursionError"),
        (json.dumps(GOOD | {"params": None}).encode(), "params is None, and no number"),
        (json.dumps(GOOD | {"train_seconds": "long"}).encode(), "train_seconds is long, and no number"),
        (json.dumps(GOOD | {"macs": "many"}).encode(), "macs is many, and no number"),
        (json.dumps(GOOD | {"test_top1_percent": [1]}).encode(), r"test_top1_percent is \[1\], and no number"),
        (json.dumps(GOOD | {"figures": [{"name": 3}], "headline": "a"}).encode(), "cannot be read"),
    ],
)
def test_damaged_results_are_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}: {message}") as caught:
        read_results(path, ("params", "macs"))
    assert "\n" not in str(caught.value)
    path.write_text(json.dumps(GOOD))
    assert read_results(path, ("params", "macs")) == GOOD


def test_a_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory"):
        read_results(tmp_path)
