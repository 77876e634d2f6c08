"""`python src/search.py`: what it writes, and what it refuses."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from shiftaddaug.commands.search import search
from shiftaddaug.errors import UserError
from tests.commands.running import composed

LITTLE = ("data=cifar100", "draws=100", "space.image_sizes=[16,32]", "space.width_mults=[0.2,0.5]")


def run(folder: Path, *overrides: str) -> Any:
    return search(composed(folder, *LITTLE, *overrides, config_name="search"))


def test_a_space_is_chosen_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(tmp_path / "run", "hardware.sram_kib=64", "hardware.flash_kib=128")
    chosen = json.loads((tmp_path / "run" / "space.json").read_text())
    assert chosen["drawn"] == 100
    assert (chosen["chosen"]["image_size"], chosen["chosen"]["width_mult"]) == (32, 0.5)
    assert round(found) == chosen["chosen"]["macs_quantile"] > 10**6
    with (tmp_path / "run" / "space.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["image_size"], row["width_mult"]) for row in rows] == [
        ("16", "0.2"), ("16", "0.5"), ("32", "0.2"), ("32", "0.5")
    ]  # fmt: skip
    assert (tmp_path / "run" / "space.png").read_bytes().startswith(b"\x89PNG")
    assert "chosen: data.image_size=32 net.width_mult=0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hardware=eyeriss_168", r"hardware=eyeriss_168: limits no memory, by which a space is chosen"),
        ("stage=all", r"stage=all: no such option; options: space, supernet, target"),
        ("draws=0", r"draws=0: must be a whole number"),
        ("macs_quantile=1", r"macs_quantile=1: must be"),
        ("net=resnet20", r"space=micro: net=resnet20 has no stage with expand"),
        ("data=shapes", r"arch=unet: architectures are searched of classifiers"),
        ("space.image_sizes=[3]", r".*image"),
    ],
)
def test_mistakes(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        run(tmp_path / "run", override)
    assert not (tmp_path / "run").exists()
