"""Listing trees of class folders."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.builders import keys_of

from shiftaddaug.data.checks import check_data_config
from shiftaddaug.data.class_folders import Layout, class_names, count_classes, layout_of, require_folder
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
    (root / "test").mkdir()
    (root / "test" / "unlabelled.png").write_bytes(b"")
    assert layout_of(root) == Layout(root, ("train", "val"), ("cat", "dog"))


@pytest.mark.parametrize("parts", [("train", "val"), ("train", "test"), ("train", "val", "test"), ()])
def test_layouts(make_folders: MakeFolders, parts: tuple[str, ...]) -> None:
    assert layout_of(make_folders(dict.fromkeys(parts or ("",), 1))) == Layout(
        layout_of(make_folders({})).root, parts, ("cat", "dog")
    )


def test_folders_beside_splits_are_not_read(make_folders: MakeFolders, caplog: pytest.LogCaptureFixture) -> None:
    root = make_folders({"train": 1, "val": 1})
    (root / "valid").mkdir()
    layout_of(root).warn()
    assert f"data.data_dir={root}: valid/ not read, for train/ and val/ are there" in caplog.text


def test_a_class_may_be_called_train(make_folders: MakeFolders, caplog: pytest.LogCaptureFixture) -> None:
    layout = layout_of(make_folders({"": 1}, classes=("car", "train")))
    assert (layout.parts, layout.names) == ((), ("car", "train"))
    layout.warn()
    assert "train/ holds no class folders, so that it is taken for a class itself" in caplog.text


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train/cat", "train/dog"), r"there is no val/ in it, and no test/, .*options: add one, or .*/train, which"),
        (("train/cat", "train/dog", "valid/cat"), r"there is no val/ .*options: rename valid/ to val/ or test/"),
        (("train/cat", "train/dog", "emu"), r"there is no val/ .*options: move emu/ into train/, or the classes"),
        (("train/cat", "train/dog", "test"), r"there is no val/ in it, and no class folder in test/"),
        (("val/cat", "val/dog"), r"there is no train/ in it beside val/"),
        (("val/cat", "val/dog", "emu"), r"there is no train/ in it beside val/"),
        (("train",), r"there is no class folder in train/ \(expected"),
        (("train", "val"), r"there is no class folder in train/ \(expected"),
        (("Training/cat", "Validation/cat"), r"Training/ looks like a split, not like a class"),
        (
            ("photos/cat", "photos/dog"),
            r"photos is the only class folder in it; .*did you mean data\.data_dir=.*/photos\?",
        ),
        ((), r"there is no class folder in it, only images without a class"),
    ],
)
def test_other_layouts_are_refused(folders: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "loose.png").write_bytes(b"")
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=rf"^data\.data_dir=.*: {message}"):
        layout_of(tmp_path)


def test_no_folder_given() -> None:
    with pytest.raises(UserError, match=r"data\.data_dir=null: imagenet needs a folder .*expected <class>/"):
        require_folder(None, "imagenet")


def test_folder_absent(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.data_dir=.*none: no such folder"):
        require_folder(tmp_path / "none")


def test_one_class(make_folders: MakeFolders) -> None:
    root = make_folders({"train": 1, "val": 1}, classes=("cat",))
    with pytest.raises(UserError, match=r"data\.data_dir=.*: cat is the only class folder in train/; two or more"):
        class_names(root)


@pytest.mark.parametrize("split", ["val", "test"])
def test_splits_that_disagree(make_folders: MakeFolders, split: str) -> None:
    root = make_folders({"train": 1, "val": 1, "test": 1})
    (root / split / "emu").mkdir()
    with pytest.raises(UserError, match=f"train/ and {split}/ disagree on 1 classes, emu for one"):
        class_names(root)


@pytest.mark.parametrize(
    ("count", "message"),
    [(0, "no image in class folder .*/dog$"), (2, "class dog has 2 images, .* it needs 3 or more$")],
)
def test_few_images_are_refused_without_torch(make_folders: MakeFolders, count: int, message: str) -> None:
    root = make_folders({"": 3})
    for i in range(count, 3):
        (root / "dog" / f"{i:03d}.png").unlink()
    (root / "dog" / ".DS_Store").write_bytes(b"x")
    (root / "dog" / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=message):
        check_data_config(keys_of("image_folder", data_dir=str(root)))
