"""The checks made before torch is imported."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shiftaddaug.data.checks import check_data_config
from shiftaddaug.errors import UserError

CIFAR = {"_target_": "shiftaddaug.data.cifar.CifarDataModule", "name": "cifar100"}
FOLDER = {"_target_": "shiftaddaug.data.image_folder.ImageFolderDataModule", "name": "imagenet"}


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"batch_size": 0}, r"data\.batch_size=0: must be a whole number >= 1"),
        ({"batch_size": True}, r"data\.batch_size=true"),
        ({"batch_size": None}, r"data\.batch_size=null"),
        ({"image_size": "32"}, r"data\.image_size=32: must be a whole number"),
        (
            {"image_size": [180]},
            r"data\.image_size=\[180\]: must be a whole number .*, or two of them, \[h",
        ),
        ({"image_size": [180, 0]}, r"data\.image_size=\[180,0\]"),
        ({"image_size": [180, True]}, r"data\.image_size=\[180,true\]"),
        ({"image_size": None}, r"data\.image_size=null"),
        ({"num_classes": -1}, r"data\.num_classes=-1: must be a whole number >= 2 or null"),
        ({"crop_padding": -0.1}, r"data\.crop_padding=-0\.1: must be a share of the image's side, >= 0 and < 1"),
        ({"crop_padding": 4}, r"data\.crop_padding=4: .* such as 0\.125 \(4 of 32 px\)"),
        ({"seed": None}, r"data\.seed=null"),
        ({"val_fraction": -0.1}, r"data\.val_fraction=-0\.1: must be a number >= 0 and < 1"),
        ({"val_fraction": 1.5}, r"data\.val_fraction=1\.5"),
        ({"test_fraction": "half"}, r"data\.test_fraction=half"),
        ({"horizontal_flip": "yes"}, r"data\.horizontal_flip=yes: must be true or false"),
        ({"in_channels": 3, "mean": [0.5]}, r"data\.mean=\[0\.5\]: must be 3 numbers, one per channel"),
        ({"in_channels": 1, "std": 0}, r"data\.std=\[0\]: must be positive"),
        ({"in_channels": 1, "std": [float("nan")]}, r"data\.std"),
        ({"name": "digits", "num_classes": 11}, r"data\.num_classes=11: digits holds 10 classes"),
        ({"name": "cifar10", "in_channels": 1}, r"data\.in_channels=1: cifar10 holds images of 3 channels"),
        ({**CIFAR, "data_dir": None}, r"paths\.data_dir=null: CIFAR-100 needs a folder"),
        ({**CIFAR, "data_dir": "/nonexistent"}, r"paths\.data_dir=/nonexistent: no CIFAR-100 there"),
        ({**CIFAR, "name": "cifar7", "data_dir": "/nonexistent"}, r"data\.name=cifar7"),
        ({**FOLDER, "data_dir": None}, r"data\.data_dir=null: imagenet needs a folder"),
        ({**FOLDER}, r"data\.data_dir=null"),
        ({**FOLDER, "data_dir": "/nonexistent"}, r"data\.data_dir=/nonexistent: no such folder"),
    ],
)
def test_errors_name_the_key_and_the_value(cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_data_config(cfg)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "cfg",
    [
        {},
        {"image_size": 32},
        {"image_size": [180, 240]},
        {"num_classes": None, "batch_size": 1, "val_fraction": 0.5, "crop_padding": 0},
        {"_target_": "elsewhere.OtherDataModule", "name": "other", "num_classes": 7, "data_dir": "/nonexistent"},
        {**CIFAR, "data_dir": "/nonexistent", "download": True},
    ],
)
def test_good_configurations_pass(cfg: dict[str, Any]) -> None:
    check_data_config(cfg)


def test_files_that_are_there_pass(make_cifar: Callable[..., Path]) -> None:
    check_data_config({**CIFAR, "data_dir": str(make_cifar())})


def test_class_folders_are_counted(make_folders: Callable[..., Path]) -> None:
    root = str(make_folders({"train": 1, "val": 1}))
    check_data_config({**FOLDER, "data_dir": root, "num_classes": None})
    check_data_config({**FOLDER, "data_dir": root, "num_classes": 2})
    with pytest.raises(UserError, match=r"data\.num_classes=1000: imagenet holds 2 classes"):
        check_data_config({**FOLDER, "data_dir": root, "num_classes": 1000})


def heavy_imports(module: str) -> set[str]:
    code = f"import sys, {module}; print(*(sys.modules.keys() & {{'torch', 'lightning', 'torchvision', 'sklearn'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_checks_import_nothing_heavy() -> None:
    assert heavy_imports("shiftaddaug.data.checks") == set()
