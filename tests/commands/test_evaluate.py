"""What an evaluation refuses, in one line that names the key, before it reads a checkpoint."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftaddaug.commands.evaluate import _check_data, _data_config, evaluate
from shiftaddaug.errors import UserError
from shiftaddaug.report.results import RESULTS
from shiftaddaug.tasks import settings_from
from tests.commands.running import composed


@pytest.mark.parametrize(("change", "keys"), [("verify=false", "data.batch_size"), ("data_dir=x", "data.batch_size")])
def test_an_evaluation_changes_only_what_its_data_have(change: str, keys: str, tmp_path: Path) -> None:
    digits = {"_target_": "shiftaddaug.data.digits.DigitsDataModule", "name": "digits", "batch_size": 64}
    cfg = composed(tmp_path / "run", "ckpt_path=a", f"data.{change}", config_name="eval")
    subnetwork = SimpleNamespace(data_config=digits, plan=SimpleNamespace(num_classes=10))
    with pytest.raises(UserError, match=rf"^data\.{change.split('=')[0]}=.*: data=digits has no such key; .*: {keys}$"):
        _data_config(cfg, subnetwork)  # type: ignore[arg-type]
    cfg.data = {"batch_size": 8, "verify": None, "data_dir": None}
    assert _data_config(cfg, subnetwork) == digits | {"batch_size": 8}  # type: ignore[arg-type]


def test_an_evaluation_overwrites_no_results(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RESULTS).write_text("{}")
    with pytest.raises(UserError, match=r"run: holds results already, which are never overwritten"):
        evaluate(composed(tmp_path / "run", f"ckpt_path={tmp_path / 'run'}", config_name="eval"))
    assert (tmp_path / "run" / RESULTS).read_text() == "{}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("split=all",), "split=all: no such option; options: val, test"),
        (("data.batch_size=0",), "data.batch_size=0: must be a whole number"),
        (("trainer.accelerator=gpuu",), "trainer.accelerator=gpuu: no such option"),
        (("subnet.width_multiplier=0.5", "ckpt_path=TARGET"), r"subnet\.width_multiplier=0\.5: must be a number >= 1"),
        (
            ("subnet.expand_multiplier=2", "ckpt_path=TARGET"),
            r"subnet\.expand_multiplier=2: .*/target is no checkpoint",
        ),
        (
            ("recalibrate_batches=-1", "ckpt_path=TARGET"),
            "recalibrate_batches=-1: must be a whole number >= 0 or null",
        ),
        ((), r"ckpt_path=.*/run: a run's folder; did you mean .*/run/target\?"),
    ],
)
def test_evaluation(line: tuple[str, ...], message: str, tmp_path: Path) -> None:
    from shiftaddaug.commands.evaluate import evaluate

    (tmp_path / "run" / "target").mkdir(parents=True)
    line = tuple(argument.replace("TARGET", str(tmp_path / "run" / "target")) for argument in line)
    with pytest.raises(UserError, match=message):
        evaluate(composed(tmp_path / "out", f"ckpt_path={tmp_path / 'run'}", *line, config_name="eval"))


def test_data_of_before_padding_was_a_share_are_read(tmp_path: Path) -> None:
    digits = {"_target_": "shiftaddaug.data.digits.DigitsDataModule", "image_size": 32, "crop_padding": 2}
    cfg = composed(tmp_path / "run", "ckpt_path=a", config_name="eval")
    subnetwork = SimpleNamespace(data_config=digits, plan=SimpleNamespace(num_classes=10))
    assert _data_config(cfg, subnetwork)["crop_padding"] == 0.0625  # type: ignore[arg-type]


def test_data_of_another_task_or_size_than_the_network_are_refused(tmp_path: Path) -> None:
    cfg = composed(tmp_path / "run", "ckpt_path=a", config_name="eval")
    task = settings_from({"name": "classification", "headline": "top1", "better": "max"})
    subnetwork: Any = SimpleNamespace(
        data_config={"name": "flowers", "num_classes": None}, plan=SimpleNamespace(num_classes=10)
    )
    _check_data(cfg, subnetwork, task, SimpleNamespace(task="classification", num_classes=10))
    with pytest.raises(UserError, match=r"^data=flowers: need a network of 7 outputs, and ckpt_path=a has 10$"):
        _check_data(cfg, subnetwork, task, SimpleNamespace(task="classification", num_classes=7))
    with pytest.raises(UserError, match=r"^data=flowers: is made for task=slope, and this run has task=classification"):
        _check_data(cfg, subnetwork, task, SimpleNamespace(task="slope", num_classes=10))
    subnetwork.data_config = {"name": "flowers"}
    with pytest.raises(UserError, match=r"^ckpt_path=a: its data have not what task=classification reads"):
        _check_data(cfg, subnetwork, task, SimpleNamespace(task="classification"))
