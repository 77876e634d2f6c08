"""The yaml files of the data group."""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.commands.running import composed
from tests.data.builders import CONFIGS, keys_of, module_of

from shiftaddaug.data.checks import check_data_config
from shiftaddaug.data.mask_settings import MaskSettings
from shiftaddaug.data.settings import ClassificationSettings
from shiftaddaug.signatures import signature_of

FOLDER = CONFIGS / "data"
MASKS = ("shapes", "camvid", "mask_folder", "oxford_pet", "voc2012", "cityscapes", "ade20k")
OWN = ("digits", "cifar10", "cifar100", "image_folder", "imagenet", *MASKS)


@pytest.mark.parametrize("name", OWN)
def test_keys_are_the_arguments(name: str) -> None:
    keys = keys_of(name)
    signature = signature_of(keys["_target_"])
    assert signature is not None
    assert not signature.open
    assert set(keys) == {"_target_", *signature.arguments}
    assert keys["name"] == name


def test_defaults_are_those_of_the_base() -> None:
    defaults = {each.name: each.default for each in fields(ClassificationSettings) if each.default is not MISSING}
    base = OmegaConf.load(FOLDER / "_images.yaml")
    assert OmegaConf.to_container(base) == defaults | {"seed": "${seed}"}


def test_defaults_of_masks_are_those_of_their_base() -> None:
    base = OmegaConf.to_container(OmegaConf.load(FOLDER / "_masks.yaml"))
    assert isinstance(base, dict)
    base = {key: tuple(value) if isinstance(value, list) else value for key, value in base.items() if key != "defaults"}
    defaults = {each.name: each.default for each in fields(MaskSettings) if each.default is not MISSING}
    assert {key: base[key] for key in base.keys() & defaults.keys()} == {
        key: defaults[key] for key in base.keys() & defaults.keys()
    }
    assert base.keys() | OmegaConf.load(FOLDER / "_images.yaml").keys() >= defaults.keys()


def test_masks_choose_task_and_architecture_and_the_user_may_choose_others(tmp_path: Path) -> None:
    cfg = composed(tmp_path, "data=camvid")
    assert (cfg.task.name, cfg.task.headline, cfg.arch.name) == ("segmentation", "miou", "unet")
    assert cfg.task.class_names == cfg.data.class_names
    other = composed(tmp_path, "data=camvid", "task=classification", "arch=lraspp")
    assert (other.task.name, other.arch.name) == ("classification", "lraspp")


@pytest.mark.parametrize("name", OWN)
def test_the_first_line_is_the_command(name: str) -> None:
    first = (FOLDER / f"{name}.yaml").read_text().splitlines()[0]
    assert re.match(rf"# python src/train\.py data={name}( |$)", first)


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100"])
def test_instantiates_before_the_data_is_there(name: str, tmp_path: Path) -> None:
    keys = keys_of(name) if name == "digits" else keys_of(name, data_dir=str(tmp_path))
    data: Any = instantiate(OmegaConf.create(keys))
    assert data.settings.name == name
    assert type(data.settings.mean) is tuple and all(type(value) is float for value in data.settings.mean)


def test_digits_run_as_configured() -> None:
    check_data_config(keys_of("digits"))
    data = module_of("digits")
    data.setup()
    images, labels = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert images.shape == (64, 1, 32, 32)
    assert labels.shape == (64,)
