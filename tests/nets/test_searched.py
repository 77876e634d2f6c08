"""The file of a searched net: what is written is read again, and nothing else is."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.nets.searching import searched_net, written

from shiftaddaug.errors import UserError
from shiftaddaug.nets.searched import FORMAT, read_searched


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    made = searched_net()
    assert len(made.operators["operators"]) == 3
    made.write(tmp_path / "net.json")
    assert read_searched(tmp_path / "net.json") == made
    assert json.loads((tmp_path / "net.json").read_text())["format"] == FORMAT


def damaged(folder: Path, damage: Callable[[dict[str, Any]], Any]) -> Path:
    path = written(folder)
    raw = json.loads(path.read_text())
    damage(raw)
    path.write_text(json.dumps(raw))
    return path


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (lambda raw: raw.pop("format"), r"holds no searched net, or a damaged one \(ValueError: it states no format\)"),
        (lambda raw: raw.update(format=2), r"is of format 2, and this version reads 1"),
        (lambda raw: raw.pop("table"), r"holds no searched net, or a damaged one \(KeyError: 'table'\)"),
        (lambda raw: raw.update(operators=[]), r"holds no searched net, or .*operators is no group of keys"),
        (lambda raw: raw["table"].update(stages=[]), r"net.stages=\[\]: must be a list of stages"),
        (lambda raw: raw["table"].update(depth=3), r"net.depth=3: no such key; "),
        (lambda raw: raw["table"]["stages"][0].update(block="os"), r"net.stages: block=os: no such block; options: "),
        (
            lambda raw: raw["operators"]["layers"]["add"].append("blocks.99.expand.conv"),
            r"its operators are of layers that net=mbv2_micro does not have: blocks.99.expand.conv",
        ),
        (
            lambda raw: raw["operators"]["layers"]["add"].pop(),
            r"it has no operator for layers of net=mbv2_micro: \w",
        ),
        (
            lambda raw: raw["operators"]["layers"]["add"].append("stem.conv"),
            r"it has two operators for layers of net=mbv2_micro: stem.conv",
        ),
        (lambda raw: raw["operators"]["operators"]["add"].update(name="os"), r"op=os: no such operator; options: "),
        (lambda raw: raw["operators"]["operators"]["add"].update(eta=-1), r"op.eta=-1: must be"),
        (lambda raw: raw["operators"]["operators"].pop("add"), r"holds no searched net, or a damaged one"),
        (lambda raw: raw.update(image_size="big"), r"image_size=big: must be a whole number >= 1 or \[height,width\]"),
        (lambda raw: raw.update(image_size=8), r"data.image_size=8: too small for net=mbv2_micro"),
        (
            lambda raw: raw["surroundings"].update(channels={"blocks.99": [8, 16]}),
            r"surroundings.channels.blocks.99: no such space in net=mbv2_micro; ",
        ),
        (
            lambda raw: raw["surroundings"].update(channels={"stem": [1000, 16]}),
            r"surroundings.channels.stem=\[1000,16\]: must be a list of whole numbers that rises from the net's",
        ),
        (
            lambda raw: raw["surroundings"].update(extra_blocks={"blocks.0": 0}),
            r"surroundings.extra_blocks.blocks.0=0: must be a whole number >= 1",
        ),
        (lambda raw: raw["surroundings"].update(depth=3), r"surroundings.depth: no such key; options: channels, extra"),
    ],
)
def test_a_damaged_file_is_answered_in_one_line(
    damage: Callable[[dict[str, Any]], Any], wanted: str, tmp_path: Path
) -> None:
    path = damaged(tmp_path, damage)
    with pytest.raises(UserError, match=f"^net.path={re.escape(str(path))}: {wanted}") as error:
        read_searched(path)
    assert "\n" not in str(error.value)


def test_what_is_no_file_of_a_search_is_answered_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "text").write_text("{")
    (tmp_path / "list").write_text("[1]")
    cases = {
        "none": "cannot be read (No such file or directory); options: ",
        "": "cannot be read (Is a directory); options: ",
        "picture.png": "holds no searched net (it is no json)",
        "text": "holds no searched net (it is no json)",
        "list": "holds no searched net, or a damaged one (ValueError: it states no format)",
    }
    for name, wanted in cases.items():
        with pytest.raises(UserError, match=re.escape(f"net.path={tmp_path / name}: {wanted}")):
            read_searched(tmp_path / name)
