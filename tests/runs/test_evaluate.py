"""An evaluation's data: as they were trained on, made for its task, of as many classes as the network tells apart."""

import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.runs.eval_settings import EvalSettings, read_eval_settings
from shiftaddaug.runs.evaluate import check_classes, check_data, data_of
from shiftaddaug.tasks import settings_from
from tests.commands.running import composed


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalSettings:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "architecture.json").write_text("{}")
    return read_eval_settings(composed(tmp_path / "run", "ckpt_path=a", config_name="eval"))


def test_data_of_before_padding_was_a_share_are_read(settings: EvalSettings) -> None:
    digits = {"_target_": "shiftaddaug.data.digits.DigitsDataModule", "image_size": 32, "crop_padding": 2}
    subnetwork = SimpleNamespace(data_config=digits, plan=SimpleNamespace(num_classes=10))
    assert data_of(settings, subnetwork)["crop_padding"] == 0.0625  # type: ignore[arg-type]


def test_data_of_another_task_or_size_than_the_network_are_refused(settings: EvalSettings) -> None:
    task = settings_from({"name": "classification", "headline": "top1", "better": "max"})
    subnetwork: Any = SimpleNamespace(
        data_config={"name": "flowers", "num_classes": None}, plan=SimpleNamespace(num_classes=10)
    )
    check_data(settings, subnetwork, task, SimpleNamespace(task="classification", num_classes=10))
    with pytest.raises(UserError, match=r"^data=flowers: need a network of 7 outputs, and ckpt_path=a has 10$"):
        check_data(settings, subnetwork, task, SimpleNamespace(task="classification", num_classes=7))
    with pytest.raises(UserError, match=r"^data=flowers: is made for task=slope, and this run has task=classification"):
        check_data(settings, subnetwork, task, SimpleNamespace(task="slope", num_classes=10))
    subnetwork.data_config = {"name": "flowers"}
    with pytest.raises(UserError, match=r"^ckpt_path=a: its data have not what task=classification reads"):
        check_data(settings, subnetwork, task, SimpleNamespace(task="classification"))


def test_a_folder_whose_labels_mean_other_classes_is_refused(settings: EvalSettings) -> None:
    """Dog/ comes before cat/, and dog/ after it."""
    subnetwork: Any = SimpleNamespace(classes=("cat", "dog", unicodedata.normalize("NFD", "épi")))

    def check(*names: str, **config: Any) -> None:
        check_classes(settings, subnetwork, {"data_dir": "b"} | config, SimpleNamespace(class_names=lambda: names))

    check("cat", "dog", "épi")
    check("a", "b", "c", class_names=["a", "b", "c"])
    with pytest.raises(UserError, match=r"^data\.data_dir=b: label 0 is Dog there, and cat in ckpt_path=a; class fol"):
        check("Dog", "cat", "épi")
    subnetwork.classes = None
    check("Dog", "cat", "épi")


def test_the_images_of_a_run_are_looked_for_where_they_were(tmp_path: Path) -> None:
    """A target names no folder of a machine, its run does; what is typed counts."""
    run, photos = tmp_path / "a_run", tmp_path / "photos"
    for folder in (run / "target", photos):
        folder.mkdir(parents=True)
    (run / "target" / "architecture.json").write_text("{}")
    (run / "config.yaml").write_text(f"data: {{name: image_folder, data_dir: {photos}}}")
    stored = {"name": "image_folder", "data_dir": None}

    def data_dir(*overrides: str) -> str:
        cfg = composed(tmp_path / "run", f"ckpt_path={run}", *overrides, config_name="eval")
        return str(read_eval_settings(cfg, overrides).changed(stored)["data_dir"])

    assert data_dir() == str(photos)
    assert data_dir("data.data_dir=/elsewhere") == "/elsewhere"
    assert data_dir("paths.data_dir=/data") == "/data"
    photos.rmdir()
    assert data_dir() != str(photos)
