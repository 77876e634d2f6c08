"""Targets that were saved when plans held blocks: `format1/` is one, written then."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.build import plan_of

from shiftaddaug.errors import UserError
from shiftaddaug.nets.extract import load_target, save_target
from shiftaddaug.nets.format1 import plan_of_format1

FOLDER = Path(__file__).parent / "format1"

TABLE: dict[str, Any] = {
    "name": "sample",
    "divisor": 2,
    "stem": {"channels": 4, "act": "h_swish"},
    "stages": [
        {"block": "depthwise_separable", "channels": 4, "residual": True, "act": "relu"},
        {"block": "inverted_bottleneck", "channels": 6, "expand": 2, "kernels": [5, 3], "stride": 2, "se": True},
        {"block": "basic", "channels": 6, "stride": 2, "depth": 2, "act": "relu"},
    ],
    "head": {"channels": 8},
    "neck": {"channels": 10, "act": "h_swish"},
}
"""What it was made of."""

LOGITS = [[-1.0990789, 2.8777931, 0.0784006], [-1.1862082, 2.9395752, 0.0566149]]
"""What it answered then."""


def stored() -> dict[str, Any]:
    architecture: dict[str, Any] = json.loads((FOLDER / "architecture.json").read_text())
    assert architecture["format"] == 1
    return architecture


def test_its_plan_is_the_one_its_table_gives_today() -> None:
    assert plan_of_format1(stored()["plan"]) == plan_of(TABLE, 3)


def test_it_loads_and_answers_what_it_did(tmp_path: Path) -> None:
    target = load_target(FOLDER)
    images = torch.linspace(-3, 40, 2 * 3 * 16 * 16).view(2, 3, 16, 16).sin()
    with torch.no_grad():
        logits = target.net(images)
    torch.testing.assert_close(logits, torch.tensor(LOGITS), rtol=1e-5, atol=1e-6)
    assert target.config == {"data": {"name": "sample"}}
    save_target(target, tmp_path)
    assert json.loads((tmp_path / "architecture.json").read_text())["format"] == 2
    with torch.no_grad():
        assert torch.equal(load_target(tmp_path).net(images), logits)


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: plan.pop("stem"),
        lambda plan: plan.update(spaces=[]),
        lambda plan: plan.update(blocks=3),
        lambda plan: plan.update(image_size="16"),
        lambda plan: plan["stem"].update(out="nobody"),
        lambda plan: plan["stem"].update(kernel=4),
        lambda plan: plan["blocks"][0].update(convs=["conv"]),
        lambda plan: plan["blocks"][0].update(act="exec"),
        lambda plan: plan["blocks"][1]["squeeze_excite"].pop("after"),
        lambda plan: plan["spaces"][1].update(channels=-1),
        lambda plan: plan["classifier"][0].update(out=["neck"]),
    ],
)
def test_damage_is_one_line(damage: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "target")
    architecture = copy.deepcopy(stored())
    damage(architecture["plan"])
    (tmp_path / "target" / "architecture.json").write_text(json.dumps(architecture))
    with pytest.raises(UserError, match=r"^ckpt_path=.*: not a readable target") as caught:
        load_target(tmp_path / "target")
    assert "\n" not in str(caught.value)


def test_formats_of_later_versions_are_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "target")
    (tmp_path / "target" / "architecture.json").write_text(json.dumps(stored() | {"format": 3}))
    with pytest.raises(UserError, match=r"not a readable target .*format 3, this version reads 1, 2"):
        load_target(tmp_path / "target")
