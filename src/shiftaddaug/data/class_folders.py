"""Trees of class folders, `train/<class>/*.jpg` and so on, listed without reading an image, and the keys of those.

Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from shiftaddaug.data.listing import folders_in
from shiftaddaug.data.settings import ClassificationSettings, Folder
from shiftaddaug.errors import UserError

JitterShare = Annotated[float, Meta(ge=0, le=1)]
EvalShare = Annotated[float, Meta(ge=0.1, le=1, title="a share of the image's side, >= 0.1 and <= 1, such as 0.875")]

EXPECTED = "expected train/<class>/*.jpg, val/<class>/*.jpg and optionally test/<class>/*.jpg"


@dataclass(frozen=True, kw_only=True)
class ImageFolderSettings(ClassificationSettings):
    """Keys of configs/data/image_folder.yaml and imagenet.yaml."""

    any_images = True

    in_channels: Literal[1, 3]
    """Channels that images are read as: 1 (grey) or 3 (colour)."""
    data_dir: Folder
    """Folder that has train/ and val/; must be given."""
    num_workers: Annotated[int, Meta(ge=0, le=1024)] = 4
    """Processes that decode images."""
    brightness: JitterShare = 0.0
    """Training images become brighter or darker by a factor of at most 1 + this, drawn anew for each."""
    saturation: JitterShare = 0.0
    """Training images become more or less colourful by a factor of at most 1 + this, drawn anew for each."""
    eval_share: EvalShare = 0.875
    """Share of an evaluated image's shorter side that its central crop covers: 224 px of 256 px."""

    def validates(self) -> bool:
        return super().validates() or self._brings_splits()

    def without_effect(self) -> Mapping[str, str]:
        idle = dict(super().without_effect())
        if self._brings_splits():
            idle = dict.fromkeys(("val_fraction", "split_seed"), f"{self.data_dir} has a test/ besides its val/")
        if self.saturation and self.in_channels == 1:
            idle["saturation"] = "images are read as grey (data.in_channels=1)"
        return idle

    def _brings_splits(self) -> bool:
        return has_test_split(Path(self.data_dir or ""))

    def held(self) -> tuple[int, None]:
        """Count the class folders.

        Raises:
            UserError: the folder is missing or not laid out so.
        """
        return count_classes(self.data_dir, self.name), None


def require_image_folder(data_dir: str | Path | None, name: str = "image_folder") -> Path:
    """Return `data_dir` as a path, once it is known to have train/ and val/.

    Raises:
        UserError: no folder is given, it does not exist, or it lacks train/ or val/.
    """
    if data_dir is None:
        raise UserError(f"data.data_dir=null: {name} needs a folder of images ({EXPECTED})")
    root = Path(data_dir)
    if not root.is_dir():
        raise UserError(f"data.data_dir={root}: no such folder ({EXPECTED})")
    for split in ("train", "val"):
        if not (root / split).is_dir():
            raise UserError(f"data.data_dir={root}: there is no {split}/ in it ({EXPECTED})")
    return root


def has_test_split(root: Path) -> bool:
    """Whether test/ has class folders; ImageNet's own test/ has unlabelled images only, which are of no use here."""
    return (root / "test").is_dir() and bool(folders_in(root / "test"))


def class_names(root: Path) -> list[str]:
    """Names of the class folders, sorted: the label of a class is its place in this list.

    Hidden folders, and others that a system or a program left, are not classes.

    Raises:
        UserError: there are fewer than two class folders, or the splits disagree on the classes.
    """
    names = folders_in(root / "train")
    if not names:
        raise UserError(f"data.data_dir={root}: there is no class folder in train/ ({EXPECTED})")
    if len(names) == 1:
        raise UserError(f"data.data_dir={root}: {names[0]} is the only class folder in train/; two or more are needed")
    for split in ("val", "test") if has_test_split(root) else ("val",):
        difference = sorted(set(names) ^ set(folders_in(root / split)))
        if difference:
            raise UserError(
                f"data.data_dir={root}: train/ and {split}/ disagree on {len(difference)} classes,"
                f" {difference[0]} for one; both need the same class folders"
            )
    return names


def count_classes(data_dir: str | Path | None, name: str = "image_folder") -> int:
    """How many classes the tree at `data_dir` has; reads no image.

    Raises:
        UserError: as `require_image_folder` and `class_names`.
    """
    return len(class_names(require_image_folder(data_dir, name)))
