"""Listing trees of class folders."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shiftaddaug.data.class_folders import class_names, count_classes, has_test_split, require_image_folder
from shiftaddaug.errors import UserError

MakeFolders = Callable[..., Path]


def test_classes_are_the_sorted_visible_folders(make_folders: MakeFolders) -> None:
    root = make_folders({"train": 1, "val": 1}, classes=("dog", "Ant", "cat"))
    for name in (".cache", "@eaDir", "lost+found", "__MACOSX", "#recycle", "$RECYCLE.BIN", "cat~"):
        (root / "train" / name).mkdir()
    (root / "train" / "loop").symlink_to("loop")
    (root / "train" / "nowhere").symlink_to("absent")
    (root / "train" / "README.txt").write_text("a file")
    assert class_names(root) == ["Ant", "cat", "dog"]
    assert count_classes(root) == 3


def test_a_test_folder_without_classes_is_no_test_split(make_folders: MakeFolders) -> None:
    root = make_folders({"train": 1, "val": 1})
    assert not has_test_split(root)
    (root / "test").mkdir()
    (root / "test" / "unlabelled.png").write_bytes(b"")
    assert not has_test_split(root)
    assert class_names(root) == ["cat", "dog"]


def test_no_folder_given() -> None:
    with pytest.raises(UserError, match=r"data\.data_dir=null: imagenet needs a folder .*expected train/<class>"):
        require_image_folder(None, "imagenet")


def test_folder_absent(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.data_dir=.*none: no such folder"):
        require_image_folder(tmp_path / "none")


@pytest.mark.parametrize(("present", "absent"), [("train", "val"), ("val", "train")])
def test_split_absent(make_folders: MakeFolders, present: str, absent: str) -> None:
    with pytest.raises(UserError, match=f"there is no {absent}/ in it"):
        require_image_folder(make_folders({present: 1}))


def test_one_class(make_folders: MakeFolders) -> None:
    root = make_folders({"train": 1, "val": 1}, classes=("cat",))
    with pytest.raises(UserError, match=r"data\.data_dir=.*: cat is the only class folder in train/; two or more"):
        class_names(root)


def test_no_class_folder(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    with pytest.raises(UserError, match="no class folder in train/"):
        class_names(tmp_path)


@pytest.mark.parametrize("split", ["val", "test"])
def test_splits_that_disagree(make_folders: MakeFolders, split: str) -> None:
    root = make_folders({"train": 1, "val": 1, "test": 1})
    (root / split / "emu").mkdir()
    with pytest.raises(UserError, match=f"train/ and {split}/ disagree on 1 classes, emu for one"):
        class_names(root)
