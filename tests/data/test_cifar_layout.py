"""Finding the CIFAR files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shiftaddaug.data.cifar_layout import CIFAR_LAYOUTS, find_cifar, require_cifar
from shiftaddaug.errors import UserError


@pytest.mark.parametrize("name", CIFAR_LAYOUTS)
def test_found_beside_others_or_given_itself(make_cifar: Callable[..., Path], name: str) -> None:
    data_dir, layout = make_cifar(name), CIFAR_LAYOUTS[name]
    assert find_cifar(data_dir, layout) == data_dir / layout.folder
    assert find_cifar(data_dir / layout.folder, layout) == data_dir / layout.folder


def test_absence_names_the_key_the_place_and_the_remedy(tmp_path: Path) -> None:
    assert find_cifar(tmp_path, CIFAR_LAYOUTS["cifar100"]) is None
    with pytest.raises(UserError) as caught:
        require_cifar(tmp_path, CIFAR_LAYOUTS["cifar100"])
    assert str(caught.value) == (
        f"paths.data_dir={tmp_path}: no CIFAR-100 there (expected {tmp_path}/cifar-100-python/train);"
        " data.download=true fetches it"
    )


def test_an_empty_folder_is_absence(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    assert find_cifar(tmp_path, CIFAR_LAYOUTS["cifar100"]) is None


def test_a_tree_of_class_folders_is_not_cifar(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    assert find_cifar(tmp_path, CIFAR_LAYOUTS["cifar100"]) is None


def test_a_part_is_an_error(make_cifar: Callable[..., Path]) -> None:
    data_dir = make_cifar("cifar10")
    (data_dir / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(UserError, match="a part of CIFAR-10 and lacks data_batch_3"):
        find_cifar(data_dir, CIFAR_LAYOUTS["cifar10"])
    shutil.rmtree(data_dir / "cifar-10-batches-py")
    assert find_cifar(data_dir, CIFAR_LAYOUTS["cifar10"]) is None
