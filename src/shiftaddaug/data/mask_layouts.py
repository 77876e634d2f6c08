"""Where images and masks of known data sets lie, and their keys. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shiftaddaug.data.listing import IMAGE_SUFFIXES, folders_in
from shiftaddaug.data.mask_settings import MaskCode, MaskFilesSettings, Palette, colours_of
from shiftaddaug.data.pairs import MASK_SUFFIXES, Pair, existing, files_in, layered, listed, paired, pairs_in
from shiftaddaug.errors import UserError
from shiftaddaug.settings import InnerShare, shown

CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Ids of the 19 classes that are evaluated, in the order of their train ids."""


@dataclass(frozen=True, kw_only=True)
class CamVidSettings(MaskFilesSettings):
    """Keys of configs/data/camvid.yaml: SegNet's folders train, trainannot, val, valannot, test, testannot."""

    name: Literal["camvid"]

    def pairs(self) -> dict[str, list[Pair]]:
        """List train, val and test."""
        root = self.root("expected train/*.png and trainannot/*.png, likewise val and test", "train", "camvid")
        return {split: pairs_in(root / split, root / f"{split}annot") for split in ("train", "val", "test")}

    def brings_validation(self) -> bool:
        return True


FOLDER_EXPECTED = (
    "expected images/* and masks/*.png, or train/images, train/masks, and so on for test and optionally val"
)


@dataclass(frozen=True, kw_only=True)
class MaskFolderSettings(MaskFilesSettings):
    """Keys of configs/data/mask_folder.yaml: folders `images` and `masks`, with a folder for each split or without."""

    any_images = True

    palette: Palette | None = None
    """What stands for the labels 0, 1, ... in masks: grey levels, or colours; None: grey levels are labels."""
    multilabel: bool = False
    """Whether masks are yes or no, in a folder of `masks` for each of class_names, which may be at a pixel together."""
    test_fraction: InnerShare = 0.2
    """Share of the images that is kept for test, where no folders say which are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        colours_of(self.palette)
        claimed, given = self.num_classes or MaskFilesSettings.held(self)[0], self._in_palette()
        if self.multilabel:
            claimed = 2
            if self.class_names is None:
                raise UserError("data.class_names=null: data.multilabel=true takes masks from folders of these names")
        if None not in (claimed, given) and claimed != given:
            raise UserError(f"data.palette={shown(self.palette)}: has {given} values for {claimed} classes")

    def _in_palette(self) -> int | None:
        """Return the number of values that stand for classes, not for what is ignored."""
        return None if self.palette is None else len(self.palette) - (self.ignore_index in range(len(self.palette)))

    def held(self) -> tuple[int | None, int | None]:
        """Return as many classes as there are names, or values of a palette that are not ignored."""
        return super().held()[0] or self._in_palette(), None

    def code(self) -> MaskCode:
        """Return what the palette says; without one the levels are labels, or say no (0) and yes (1, 255)."""
        palette, colours = self.palette or (), colours_of(self.palette)
        levels = {level: label for label, level in enumerate(palette) if isinstance(level, int)}
        if self.multilabel:
            return MaskCode(2, self.ignore_index, levels or {0: 0, 1: 1, 255: 1}, colours)
        return MaskCode(self.classes(), self.ignore_index, levels or None, colours)

    def pairs(self) -> dict[str, list[Pair]]:
        """List the splits that have folders; `train` alone where there are none."""
        root = self.root(FOLDER_EXPECTED)
        if (root / "images").is_dir() or (root / "masks").is_dir():
            return {"train": self._pairs_in(root)}
        splits = [split for split in ("train", "val", "test") if (root / split).is_dir()]
        if "train" not in splits or len(splits) < 2:
            raise UserError(f"data.data_dir={root}: is not laid out so ({FOLDER_EXPECTED})")
        found = {split: self._pairs_in(root / split) for split in splits}
        return found if "test" in found else {"train": found["train"], "test": found["val"]}

    def _pairs_in(self, root: Path) -> list[Pair]:
        if self.multilabel:
            return layered(root / "images", root / "masks", self.class_names or ())
        return pairs_in(root / "images", root / "masks")

    def without_effect(self) -> Mapping[str, str]:
        idle = dict(super().without_effect())
        if (Path(self.data_dir or "") / "train").is_dir():
            idle["test_fraction"] = f"{self.data_dir} has images for test"
        else:
            idle.pop("split_seed", None)  # which says what is for test, too
        return idle

    def brings_validation(self) -> bool:
        root = Path(self.data_dir or "")
        return all((root / split).is_dir() for split in ("train", "val", "test"))


@dataclass(frozen=True, kw_only=True)
class OxfordPetSettings(MaskFilesSettings):
    """Keys of configs/data/oxford_pet.yaml: `images` and `annotations`, as its authors and torchvision lay them out."""

    name: Literal["oxford_pet"]

    def code(self) -> MaskCode:
        """Return what trimaps say: 1 a pet, 2 the background, 3 the border between."""
        return MaskCode(self.classes(), self.ignore_index, {2: 0, 1: 1, 3: 2})

    def pairs(self) -> dict[str, list[Pair]]:
        """List trainval as `train`, and test."""
        root = self.root("expected images/*.jpg and annotations/trimaps/*.png", "annotations", "oxford-iiit-pet")
        notes, splits = root / "annotations", {"train": "trainval", "test": "test"}
        return {
            split: existing(listed(notes / f"{file}.txt"), root / "images", notes / "trimaps")
            for split, file in splits.items()
        }


@dataclass(frozen=True, kw_only=True)
class Voc2012Settings(MaskFilesSettings):
    """Keys of configs/data/voc2012.yaml: `VOCdevkit/VOC2012`, as its authors and torchvision lay it out."""

    name: Literal["voc2012"]

    def pairs(self) -> dict[str, list[Pair]]:
        """List train, and val as `test`: labels of its own test images are not public."""
        root = self.root(
            "expected VOCdevkit/VOC2012/JPEGImages and SegmentationClass", "JPEGImages", "VOCdevkit/VOC2012"
        )
        lists, splits = root / "ImageSets" / "Segmentation", {"train": "train", "test": "val"}
        return {
            split: existing(listed(lists / f"{file}.txt"), root / "JPEGImages", root / "SegmentationClass")
            for split, file in splits.items()
        }


@dataclass(frozen=True, kw_only=True)
class CityscapesSettings(MaskFilesSettings):
    """Keys of configs/data/cityscapes.yaml: `leftImg8bit` and `gtFine`, as its authors and torchvision lay them out."""

    name: Literal["cityscapes"]

    def code(self) -> MaskCode:
        """Return the train ids of the ids in *_gtFine_labelIds.png; others are not learned."""
        labels = {identity: label for label, identity in enumerate(CITYSCAPES_IDS)}
        return MaskCode(self.classes(), self.ignore_index, labels, others_ignored=True)

    def pairs(self) -> dict[str, list[Pair]]:
        """List train, and val as `test`: labels of its own test images are not public."""
        root = self.root(
            "expected leftImg8bit/train/<city>/*.png and gtFine/train/<city>/*.png", "leftImg8bit", "cityscapes"
        )
        return {split: _cities(root, name) for split, name in {"train": "train", "test": "val"}.items()}


def _cities(root: Path, split: str) -> list[Pair]:
    """List the images of all cities of a split, in the order of cities and then of names."""
    found: list[Pair] = []
    images, masks = root / "leftImg8bit" / split, root / "gtFine" / split
    for city in folders_in(images):
        ending, other = "_leftImg8bit", "_gtFine_labelIds"
        pictures = {name.removesuffix(ending): path for name, path in files_in(images / city, IMAGE_SUFFIXES).items()}
        labels = {
            name.removesuffix(other): path
            for name, path in files_in(masks / city, MASK_SUFFIXES).items()
            if name.endswith(other)
        }
        found += paired(pictures, labels, images / city, masks / city)
    if not found:
        raise UserError(f"{images}: holds no folder of a city")
    return found


@dataclass(frozen=True, kw_only=True)
class Ade20kSettings(MaskFilesSettings):
    """Keys of configs/data/ade20k.yaml: `images` and `annotations` of the scene parsing challenge of 2016."""

    name: Literal["ade20k"]

    def code(self) -> MaskCode:
        """Return the labels: the values 1 to 150 less 1; 0, which is anything else, is not learned."""
        labels = {label + 1: label for label in range(150)}
        return MaskCode(self.classes(), self.ignore_index, labels, others_ignored=True)

    def pairs(self) -> dict[str, list[Pair]]:
        """List training, and validation as `test`: labels of its own test images are not public."""
        root = self.root(
            "expected images/training/*.jpg and annotations/training/*.png", "annotations", "ADEChallengeData2016"
        )
        splits = {"train": "training", "test": "validation"}
        return {split: pairs_in(root / "images" / name, root / "annotations" / name) for split, name in splits.items()}
