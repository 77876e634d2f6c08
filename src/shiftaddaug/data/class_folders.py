"""Trees of class folders, listed without reading an image, and the keys of those.

Either ROOT/<class>/*.jpg, split by `data.split_seed` (`folder_split.py`), or ROOT/train/<class>/*.jpg and so on.

Imports no torch.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from shiftaddaug.data.folder_split import least_images, refuse_few
from shiftaddaug.data.listing import count_files, folders_in, holds_images
from shiftaddaug.data.settings import ClassificationSettings, Folder
from shiftaddaug.errors import UserError, printable
from shiftaddaug.settings import Count, InnerShare

log = logging.getLogger(__name__)

JitterShare = Annotated[float, Meta(ge=0, le=1)]
EvalShare = Annotated[float, Meta(ge=0.1, le=1, title="a share of the image's side, >= 0.1 and <= 1, such as 0.875")]
ShareOfArea = Annotated[float, Meta(gt=0, le=1, title="a share of the image's area, > 0 and <= 1, such as 0.08")]

EXPECTED = (
    "expected <class>/*.jpg, which data.split_seed splits, or train/<class>/*.jpg beside val/<class>/*.jpg,"
    " test/<class>/*.jpg or both"
)
SPLITS = ("train", "val", "test")
LIKE_SPLITS = frozenset(
    {
        *("train", "training", "trainset", "train_set", "train_images", "traindata"),
        *("val", "valid", "validation", "valset", "val_set", "dev", "eval", "evaluation"),
        *("test", "testing", "testset", "test_set", "test_images", "testdata"),
    }
)
"""What people call splits, in lower case."""


@dataclass(frozen=True, kw_only=True)
class ImageFolderSettings(ClassificationSettings):
    """Keys of configs/data/image_folder.yaml and imagenet.yaml."""

    any_images = True

    in_channels: Literal[1, 3]
    """Channels that images are read as: 1 (grey) or 3 (colour)."""
    data_dir: Folder
    """Folder that has a folder for each class, or train/ beside val/, test/ or both; must be given."""
    test_fraction: InnerShare = 0.2
    """Share of every class's images that is kept for test, where the folder has no train/."""
    num_workers: Annotated[int, Meta(ge=0, le=1024)] = 4
    """Processes that decode images."""
    crop_area: ShareOfArea = 0.08
    """Smallest share of an image's area that a training image shows of it; as GoogLeNet (arXiv 1409.4842) has it."""
    brightness: JitterShare = 0.0
    """Training images become brighter or darker by a factor of at most 1 + this, drawn anew for each."""
    saturation: JitterShare = 0.0
    """Training images become more or less colourful by a factor of at most 1 + this, drawn anew for each."""
    eval_share: EvalShare = 0.875
    """Share of an evaluated image's shorter side that its central crop covers: 224 px of 256 px."""
    min_epoch_batches: Count = 0
    """Batches that an epoch has at least: it passes over few images several times, each time augmented anew."""

    def validates(self) -> bool:
        return super().validates() or self._parts() == SPLITS

    def without_effect(self) -> Mapping[str, str]:
        parts, root, idle = self._parts(), self.data_dir, dict[str, str]()
        if parts:
            idle["test_fraction"] = (
                f"{root} has a train/, and its test images in {'test' if 'test' in parts else 'val'}/"
            )
        if parts == SPLITS:
            idle |= dict.fromkeys(("val_fraction", "split_seed"), f"{root} has a test/ besides its val/")
        elif parts:
            idle |= super().without_effect()
        if self.saturation and self.in_channels == 1:
            idle["saturation"] = "images are read as grey (data.in_channels=1)"
        return idle

    def _parts(self) -> tuple[str, ...]:
        """Return the splits that the folder brings; none where it is not there or not laid out so."""
        try:
            return layout_of(require_folder(self.data_dir, self.name)).parts
        except UserError:
            return ()

    def held(self) -> tuple[int, None]:
        """Count the class folders.

        Raises:
            UserError: the folder is missing or not laid out so.
        """
        return count_classes(self.data_dir, self.name), None

    def check_source(self) -> None:
        """Refuse class folders of too few images to be split, too.

        Raises:
            UserError: naming one; as `held`.
        """
        super().check_source()
        layout, least = layout_of(require_folder(self.data_dir, self.name)), least_images(self.val_fraction)
        if not layout.parts:  # as they come splits are not counted: ImageNet has a million files
            refuse_few(layout.root, {name: count_files(layout.root / name, least) for name in layout.names}, least)


@dataclass(frozen=True)
class Layout:
    """How a folder of images is laid out."""

    root: Path
    parts: tuple[str, ...]
    """Splits that it brings, in the order of `SPLITS`; none where class folders lie in it directly."""
    names: tuple[str, ...]
    """Class folders, sorted: the label of a class is its place."""
    unread: tuple[str, ...] = ()
    """Other folders in it."""

    def warn(self) -> None:
        """Say which folders are not read, or taken for what their name does not say."""
        if self.unread:
            names = ", ".join(f"{printable(name)}/" for name in self.unread[:5])
            more = f" and {len(self.unread) - 5} more" if len(self.unread) > 5 else ""
            log.warning(
                "data.data_dir=%s: %s%s not read, for %s are there; splits are train/, val/ and test/",
                *(printable(self.root), names, more, " and ".join(f"{part}/" for part in self.parts)),
            )
        for name in self.names if not self.parts else ():
            if name.lower() in LIKE_SPLITS:
                log.warning(
                    "data.data_dir=%s: %s/ holds no class folders, so that it is taken for a class itself",
                    *(printable(self.root), name),
                )


def require_folder(data_dir: str | Path | None, name: str = "image_folder") -> Path:
    """Return `data_dir` as a path, once it is known to be a folder.

    Raises:
        UserError: none is given, or it does not exist.
    """
    if data_dir is None:
        raise UserError(f"data.data_dir=null: {name} needs a folder of images ({EXPECTED})")
    root = Path(data_dir)
    if not root.is_dir():
        raise UserError(f"data.data_dir={root}: no such folder ({EXPECTED})")
    return root


def layout_of(root: Path) -> Layout:
    """Say how a folder is laid out; reads no image.

    ROOT/train/ beside val/ or test/ are splits, whose class folders are the classes. ImageNet's own test/ has
    unlabelled images only, and is none. Else every folder in ROOT is a class. Hidden folders, and others that a system
    or a program left, are neither.

    Raises:
        UserError: it is laid out otherwise; there are fewer than two classes; the splits disagree on the classes.
    """
    folders = folders_in(root)
    present = [split for split in SPLITS if split in folders]
    classes = {split: folders_in(root / split) for split in present}
    others = [name for name in folders if name not in SPLITS]
    if "train" not in present or len(present) == 1:
        _refuse_lone_splits(root, classes, others)
        _refuse_like_splits(root, folders)
        return Layout(root, (), tuple(_two_or_more(root, "", folders)))
    names = _two_or_more(root, "train", classes["train"])
    parts = tuple(split for split in present if split != "test" or classes["test"])
    if parts == ("train",):
        raise UserError(f"data.data_dir={root}: there is no val/ in it, and no class folder in test/ ({EXPECTED})")
    for split in parts[1:]:
        difference = sorted(set(names) ^ set(classes[split]))
        if difference:
            raise UserError(
                f"data.data_dir={root}: train/ and {split}/ disagree on {len(difference)} classes,"
                f" {difference[0]} for one; both need the same class folders"
            )
    return Layout(root, parts, tuple(names), tuple(others))


def _refuse_lone_splits(root: Path, classes: Mapping[str, Sequence[str]], others: Sequence[str]) -> None:
    """Refuse train/ without val/ and test/, and those without train/; one without folders in it may be a class."""
    start = f"data.data_dir={root}:"
    if classes.get("train"):
        options = f"add one, or data.data_dir={root / 'train'}, which data.split_seed splits"
        alike = [name for name in others if name.lower() in LIKE_SPLITS]
        if alike:
            options = f"rename {alike[0]}/ to val/ or test/"
        elif others:
            options = f"move {others[0]}/ into train/, or the classes of train/ beside it; {options}"
        raise UserError(f"{start} there is no val/ in it, and no test/, beside train/; options: {options}")
    lone = [split for split in classes if classes[split] or not others]
    if lone and "train" not in lone:
        raise UserError(f"{start} there is no train/ in it beside {lone[0]}/ ({EXPECTED})")
    if lone:
        raise UserError(f"{start} there is no class folder in train/ ({EXPECTED})")


def _refuse_like_splits(root: Path, folders: Sequence[str]) -> None:
    """Refuse to take Training/ and Validation/ for classes."""
    alike = [name for name in folders if name.lower() in LIKE_SPLITS]
    wrong = alike if alike and len(alike) == len(folders) else [name for name in alike if folders_in(root / name)]
    if wrong:
        raise UserError(f"data.data_dir={root}: {wrong[0]}/ looks like a split, not like a class ({EXPECTED})")


def _two_or_more(root: Path, split: str, names: list[str]) -> list[str]:
    """Return the names of the classes.

    Raises:
        UserError: there are fewer than two.
    """
    where = f"{split}/" if split else "it"
    if not names:
        loose = ", only images without a class" if holds_images(root / split) else ""
        raise UserError(f"data.data_dir={root}: there is no class folder in {where}{loose} ({EXPECTED})")
    if len(names) == 1:
        inner = root / split / names[0]
        hint = f"; did you mean data.data_dir={inner}?" if not split and len(folders_in(inner)) > 1 else ""
        raise UserError(
            f"data.data_dir={root}: {names[0]} is the only class folder in {where}; two or more are needed{hint}"
        )
    return names


def class_names(root: Path) -> list[str]:
    """Return the names of the class folders, sorted: the label of a class is its place in this list.

    Raises:
        UserError: as `layout_of`.
    """
    return list(layout_of(root).names)


def count_classes(data_dir: str | Path | None, name: str = "image_folder") -> int:
    """Return how many classes the folder has; reads no image.

    Raises:
        UserError: as `require_folder` and `layout_of`.
    """
    return len(layout_of(require_folder(data_dir, name)).names)
