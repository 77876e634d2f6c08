"""The checks made before torch is imported."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.data.builders import keys_of

from shiftaddaug.data.checks import check_data_config
from shiftaddaug.errors import UserError


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("digits", {"batch_size": 0}, r"data\.batch_size=0: must be a whole number >= 1"),
        ("digits", {"batch_size": True}, r"data\.batch_size=true"),
        ("digits", {"batch_size": None}, r"data\.batch_size=null"),
        ("digits", {"image_size": "32"}, r"data\.image_size=32: must be a whole number"),
        ("digits", {"image_size": [180]}, r"data\.image_size=\[180\]: must be a whole number .*, or two of them, \[h"),
        ("digits", {"image_size": [180, 0]}, r"data\.image_size=\[180,0\]"),
        ("digits", {"image_size": [180, True]}, r"data\.image_size=\[180,true\]"),
        ("digits", {"num_classes": -1}, r"data\.num_classes=-1: must be a whole number >= 2 or null"),
        ("digits", {"crop_padding": -0.1}, r"data\.crop_padding=-0\.1: must be a share of the image's side, >= 0 and"),
        ("digits", {"crop_padding": 4}, r"data\.crop_padding=4: .* such as 0\.125 \(4 of 32 px\)"),
        ("digits", {"seed": None}, r"data\.seed=null"),
        ("digits", {"val_fraction": -0.1}, r"data\.val_fraction=-0\.1: must be a number >= 0 and < 1"),
        ("digits", {"test_fraction": "half"}, r"data\.test_fraction=half"),
        ("digits", {"horizontal_flip": "yes"}, r"data\.horizontal_flip=yes: must be true or false"),
        ("cifar10", {"mean": [0.5]}, r"data\.mean=\[0\.5\]: must be 3 numbers, one per channel"),
        ("digits", {"std": [0]}, r"data\.std=\[0\]: must be positive"),
        ("digits", {"std": 0}, r"data\.std=0: must be a list of numbers"),
        ("digits", {"std": [float("nan")]}, r"data\.std"),
        ("digits", {"num_classes": 11}, r"data\.num_classes=11: digits holds 10 classes"),
        (
            "digits",
            {"in_channels": 3, "mean": [0] * 3, "std": [1] * 3},
            r"data\.in_channels=3: digits holds images of 1",
        ),
        ("digits", {"clases": 10}, r"data\.clases=10: no such key"),
        ("cifar100", {"data_dir": None}, r"paths\.data_dir=null: CIFAR-100 needs a folder"),
        ("cifar100", {"data_dir": "/nonexistent"}, r"paths\.data_dir=/nonexistent: no CIFAR-100 there"),
        ("cifar100", {"name": "cifar7"}, r"data\.name=cifar7: no such option; options: cifar10, cifar100"),
        ("image_folder", {}, r"data\.data_dir=null: image_folder needs a folder"),
        ("imagenet", {"data_dir": None}, r"data\.data_dir=null: imagenet needs a folder"),
        ("imagenet", {"data_dir": "/nonexistent"}, r"data\.data_dir=/nonexistent: no such folder"),
    ],
)
def test_errors_name_the_key_and_the_value(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}") as caught:
        check_data_config(keys_of(name, **changes))
    assert "\n" not in str(caught.value)


def test_a_base_is_no_data_set() -> None:
    with pytest.raises(UserError, match=r"^data\._target_: is missing"):
        check_data_config({"image_size": 32})


@pytest.mark.parametrize(
    "cfg",
    [
        keys_of("digits", image_size=[180, 240], num_classes=None, batch_size=1, val_fraction=0.5, crop_padding=0),
        keys_of("cifar100", data_dir="/nonexistent", download=True),
        {"_target_": "lightning.LightningDataModule", "name": "other", "data_dir": "/nonexistent"},
    ],
)
def test_good_configurations_pass(cfg: dict[str, Any]) -> None:
    check_data_config(cfg)


def test_files_that_are_there_pass(make_cifar: Callable[..., Path]) -> None:
    check_data_config(keys_of("cifar100", data_dir=str(make_cifar())))


def test_class_folders_are_counted(make_folders: Callable[..., Path]) -> None:
    root = str(make_folders({"train": 1, "val": 1}))
    check_data_config(keys_of("imagenet", data_dir=root, num_classes=None))
    check_data_config(keys_of("imagenet", data_dir=root, num_classes=2))
    with pytest.raises(UserError, match=r"data\.num_classes=1000: imagenet holds 2 classes"):
        check_data_config(keys_of("imagenet", data_dir=root))


def heavy_imports(module: str) -> set[str]:
    code = f"import sys, {module}; print(*(sys.modules.keys() & {{'torch', 'lightning', 'torchvision', 'sklearn'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_checks_import_nothing_heavy() -> None:
    assert heavy_imports("shiftaddaug.data.checks") == set()
