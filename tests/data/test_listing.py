"""Which files are images of their class; what is left out, and that it is said."""

import logging
import os
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from shiftaddaug.data.listing import folders_in, images_below, list_images
from shiftaddaug.errors import UserError

MakeFolders = Callable[..., Path]
SPLITS = ("train", "val")
NAMES = ("cat", "dog")


@pytest.fixture
def root(make_folders: MakeFolders) -> Path:
    """Two images of each class for training, one for validation."""
    made = make_folders({"train": 2, "val": 1})
    (made / "pool").mkdir()
    (made / "pool" / "x.png").write_bytes(b"x")
    return made


def listed(root: Path, splits: tuple[str, ...] = SPLITS) -> dict[str, list[str]]:
    found = list_images(root, splits, NAMES)
    for split, files in found.items():
        assert all(path.relative_to(root / split).parts[0] == NAMES[label] for path, label in files)
    return {split: [str(path.relative_to(root / split)) for path, _ in files] for split, files in found.items()}


WHOLE = {
    "train": ["cat/000.png", "cat/001.png", "dog/000.png", "dog/001.png"],
    "val": ["cat/000.png", "dog/000.png"],
}


def with_more(more: str, split: str = "train") -> dict[str, list[str]]:
    return WHOLE | {split: sorted([*WHOLE[split], more])}


def test_images_are_listed_by_class_and_path_and_nested(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "cat" / "more.png").mkdir()
    (root / "train" / "cat" / "more.png" / "x.JPEG").write_bytes(b"")
    for name in ("notes.txt", "x.png~", "x.png.part", "Thumbs.db", "desktop.ini", ".DS_Store", ".nfs000012"):
        (root / "train" / "cat" / name).write_text("not an image")
    assert listed(root) == with_more("cat/more.png/x.JPEG")
    assert caplog.text == ""


@pytest.mark.parametrize(
    "path",
    [
        *(
            ".ipynb_checkpoints/x.png",
            "@eaDir/x.png/SYNOPHOTO_THUMB_M.jpg",
            ".snapshot/hourly.0/x.png",
            "__MACOSX/x.png",
        ),
        *(
            "#recycle/x.png",
            "lost+found/x.png",
            "$RECYCLE.BIN/x.png",
            ".git/x.png",
            "deep/er/.trash/x.png",
            "old~/x.png",
        ),
        *("._x.png", ".x.png.swp.png", "~$x.png", ".nfs0000.jpg"),
    ],
)
def test_what_a_system_leaves_is_no_image(path: str, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = root / "train" / "cat" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    assert listed(root) == WHOLE
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    first = next(part for part in ("deep/er/.trash", "@eaDir", path.split("/")[0]) if path.startswith(part))
    assert record.getMessage() == (
        f"data.data_dir={root}: what is no image of its class is left out; "
        f"left by a system or a program: 1 (such as train/cat/{first})"
    )


def test_what_is_no_regular_file_is_no_image(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = root / "train" / "dog"
    os.mkfifo(folder / "pipe.png")
    (folder / "dangling.png").symlink_to("absent.png")
    (folder / "loop.png").symlink_to("loop.png")
    here = os.getcwd()
    os.chdir(folder)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as served:
            served.bind("socket.png")
    finally:
        os.chdir(here)
    assert listed(root) == WHOLE
    assert "left out; no regular file: 4 (such as train/dog/dangling.png)" in caplog.text


@pytest.mark.parametrize(
    ("link", "target", "reason"),
    [
        (
            "train/cat/x.png",
            "../dog/000.png",
            "lies in another class or split: 1 (such as train/cat/x.png)",
        ),
        ("train/cat/x.png", "../../val/cat/000.png", "lies in another class or split: 1"),
        ("train/cat/more", "../dog", "lies in another class or split: 1 (such as train/cat/more)"),
        ("train/cat/more", "../../val", "lies in another class or split: 2 (such as train/cat/more/cat)"),
        ("train/cat/x.png", "000.png", "reached twice: 1 (such as train/cat/x.png)"),
        ("train/cat/more", ".", "reached twice: 1"),
        ("train/cat/more", "../..", "reached twice: 1"),
    ],
)
def test_links_to_other_images_add_none(
    link: str, target: str, reason: str, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / link).symlink_to(target)
    assert listed(root) == WHOLE
    assert f"left out; {reason}" in caplog.text


def test_links_to_images_elsewhere_are_images(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "cat" / "x.png").symlink_to("../../pool/x.png")
    assert listed(root) == with_more("cat/x.png")
    (root / "train" / "dog" / "y.png").symlink_to("../../pool/x.png")
    assert caplog.text == ""
    assert listed(root) == with_more("cat/x.png"), "of two links to one file, the first"
    assert "left out; reached twice: 1 (such as train/dog/y.png)" in caplog.text
    (root / "val" / "dog" / "z.png").symlink_to("../../pool/x.png")
    assert listed(root) == with_more("dog/z.png", "val"), "what is evaluated on is not trained on"


def test_folders_of_links_are_read(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "cat" / "more").symlink_to("../../pool")
    (root / "train" / "cat" / "again").symlink_to("../../pool")
    assert [path for path in listed(root)["train"] if "x.png" in path] in (["cat/more/x.png"], ["cat/again/x.png"])
    assert "left out; reached twice: 1" in caplog.text


def test_two_names_of_one_file_are_one_image(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.link(root / "val" / "cat" / "000.png", root / "train" / "cat" / "x.png")
    os.link(root / "train" / "cat" / "000.png", root / "train" / "dog" / "x.png")
    assert listed(root) == WHOLE
    assert "left out; reached twice: 2 (such as train/cat/x.png)" in caplog.text


def test_class_folders_may_be_links_to_folders_elsewhere(root: Path) -> None:
    (root / "train" / "dog").rename(root / "elsewhere")
    (root / "train" / "dog").symlink_to("../elsewhere")
    assert listed(root) == WHOLE


def test_splits_that_are_one_folder_are_refused(root: Path) -> None:
    (root / "test").symlink_to("val")
    with pytest.raises(UserError) as caught:
        listed(root, ("train", "val", "test"))
    assert str(caught.value) == (
        f"data.data_dir={root}: no image in class folder {root}/test/cat; left out: lies in another class or split: 1 "
        "(such as test/cat)"
    )


def test_an_empty_class_is_refused(root: Path) -> None:
    (root / "train" / "dog" / "000.png").unlink()
    (root / "train" / "dog" / "001.png").rename(root / "train" / "dog" / "._001.png")
    with pytest.raises(UserError, match=r"no image in class folder .*dog; left out: left by a system or a program: 1"):
        listed(root)
    (root / "train" / "dog" / "._001.png").unlink()
    with pytest.raises(UserError, match=r"no image in class folder .*dog$"):
        listed(root)


@pytest.mark.parametrize("name", [b"a\nb.png", b"a\x1b[31m\r.png", b"\xff\xfe.png", "\u2028\u202e.png".encode()])
def test_no_name_breaks_a_message(name: bytes, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "cat" / os.fsdecode(name)).symlink_to("absent")
    listed(root)
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert message.isprintable()
    message.encode()
    for file in (*(root / "val" / "cat").iterdir(), *(root / "train" / "cat").iterdir()):
        file.unlink()
    folder = root / "train" / "cat" / os.fsdecode(name)
    folder.mkdir()
    with pytest.raises(UserError) as caught:
        list_images(folder.parent, ("a",), (folder.name,))
    assert str(caught.value).isprintable()


def test_pictures_of_other_kinds_are_told_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "cat" / "IMG_1.HEIC").write_bytes(b"x")
    assert listed(root) == WHOLE
    assert "no kind of image that is read (jpg, jpeg, png" in caplog.text
    assert ": 1 (such as train/cat/IMG_1.HEIC)" in caplog.text


def test_classes_have_the_same_places_however_a_system_writes_accents(tmp_path: Path) -> None:
    """An archive made by macOS has the accent apart from its letter; labels of a target must mean the same."""
    for form in ("NFC", "NFD"):
        for name in ("tea", "épicéa", "zebra"):
            (tmp_path / form / unicodedata.normalize(form, name)).mkdir(parents=True)
    composed, apart = (folders_in(tmp_path / form) for form in ("NFC", "NFD"))
    assert composed != apart
    assert composed == [unicodedata.normalize("NFC", name) for name in apart]


def test_links_to_themselves_and_to_nothing_are_no_images_to_predict(tmp_path: Path) -> None:
    for name, target in (("loop.png", "loop.png"), ("lost.png", "nowhere"), ("link.png", "x.png")):
        (tmp_path / name).symlink_to(tmp_path / target)
    (tmp_path / "x.png").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    assert [path.name for path in images_below(tmp_path)] == ["link.png", "x.png"]
