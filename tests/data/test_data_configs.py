"""The yaml files of the data group."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from shiftaddaug.data.checks import check_data_config
from shiftaddaug.errors import UserError

FOLDER = Path(__file__).parents[2] / "configs" / "data"
OWN = ("digits", "cifar10", "cifar100", "image_folder", "imagenet")


def composed(name: str, data_dir: Path) -> DictConfig:
    """The data group with the keys of the whole configuration that it refers to."""
    whole = OmegaConf.create(
        {"seed": 3, "paths": {"data_dir": str(data_dir)}, "data": OmegaConf.load(FOLDER / f"{name}.yaml")}
    )
    return whole.data


@pytest.mark.parametrize("name", OWN)
def test_keys_are_the_arguments(name: str) -> None:
    cfg = OmegaConf.load(FOLDER / f"{name}.yaml")
    arguments = inspect.signature(get_class(cfg._target_)).parameters
    assert set(cfg) == {"_target_", *arguments}
    assert cfg.name == name


@pytest.mark.parametrize("name", OWN)
def test_the_first_line_is_the_command(name: str) -> None:
    first = (FOLDER / f"{name}.yaml").read_text().splitlines()[0]
    assert re.match(rf"# python src/train\.py data={name}( |$)", first)


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100"])
def test_instantiates_before_the_data_is_there(name: str, tmp_path: Path) -> None:
    data: Any = instantiate(composed(name, tmp_path))
    assert data.seed == 3
    assert data.name == name
    assert type(data.mean) is tuple and all(type(value) is float for value in data.mean)


def test_digits_run_as_configured(tmp_path: Path) -> None:
    cfg = composed("digits", tmp_path)
    check_data_config(cfg)
    data: Any = instantiate(cfg)
    data.setup()
    images, labels = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert images.shape == (64, 1, 32, 32)
    assert labels.shape == (64,)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar10", "no CIFAR-10 there"),
        ("cifar100", "no CIFAR-100 there"),
        ("image_folder", r"data\.data_dir=null: image_folder needs"),
        ("imagenet", r"data\.data_dir=null: imagenet needs"),
    ],
)
def test_missing_data_is_found_by_the_checks(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        check_data_config(dict(composed(name, tmp_path)) | {"download": False})
