"""Tiny data sets of images and masks in the files of the real ones, drawn from seeds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shiftaddaug.data.mask_layouts import CITYSCAPES_IDS

SIZE = (12, 16)


def write_image(path: Path, size: tuple[int, int] = SIZE) -> None:
    """Noise, from a seed that is the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.stem.encode()))
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def write_mask(path: Path, values: Sequence[int], size: tuple[int, int] = SIZE, palette: bool = False) -> None:
    """Values of these in random places, as grey levels or palette indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.stem.encode()))
    image = Image.fromarray(rng.choice(np.array(values, np.uint8), size))
    if palette:
        image.putpalette(rng.integers(0, 256, 768).tolist())
    image.save(path)


def write_camvid(folder: Path) -> Path:
    """Two images a split."""
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            write_image(folder / "camvid" / split / f"{split}_{name}.png")
            write_mask(folder / "camvid" / f"{split}annot" / f"{split}_{name}.png", range(12))
    return folder


def write_folder(folder: Path, count: int = 10, values: Sequence[int] = (0, 1)) -> Path:
    """Images and masks without splits."""
    for i in range(count):
        write_image(folder / "images" / f"{i:02d}.jpg")
        write_mask(folder / "masks" / f"{i:02d}.png", values)
    return folder


def write_pets(folder: Path) -> Path:
    """As the authors' archives unpack."""
    root = folder / "oxford-iiit-pet"
    for split, names in (("trainval", ("Abyssinian_1", "beagle_2", "pug_10")), ("test", ("Birman_3",))):
        for name in names:
            write_image(root / "images" / f"{name}.jpg")
            write_mask(root / "annotations" / "trimaps" / f"{name}.png", (1, 2, 3))
        (root / "annotations" / f"{split}.txt").write_text("".join(f"{name} 1 1 1\n" for name in names))
    return folder


def write_voc(folder: Path) -> Path:
    """As the authors' archive unpacks: palette PNGs, and an image that has no mask."""
    root = folder / "VOCdevkit" / "VOC2012"
    write_image(root / "JPEGImages" / "2009_000001.jpg")
    for split, names in (("train", ("2007_000032", "2007_000039", "2008_7")), ("val", ("2007_000033",))):
        for name in names:
            write_image(root / "JPEGImages" / f"{name}.jpg")
            write_mask(root / "SegmentationClass" / f"{name}.png", (0, 7, 20, 255), palette=True)
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return folder


def write_cityscapes(folder: Path) -> Path:
    """Two cities for training, one for validation; colours and instances beside the labels."""
    for split, city in (("train", "ulm"), ("train", "aachen"), ("val", "lindau")):
        for i in range(2):
            name = f"{city}_00000{i}_000019"
            write_image(folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
            masks = folder / "gtFine" / split / city
            write_mask(masks / f"{name}_gtFine_labelIds.png", (*CITYSCAPES_IDS, 0, 3, 34 - 5))
            write_mask(masks / f"{name}_gtFine_color.png", (0, 9))
            (masks / f"{name}_gtFine_polygons.json").write_text("{}")
    return folder


def write_ade(folder: Path) -> Path:
    """As the archive of the challenge unpacks."""
    root = folder / "ADEChallengeData2016"
    for split, count in (("training", 3), ("validation", 1)):
        for i in range(count):
            write_image(root / "images" / split / f"ADE_{split}_{i:08d}.jpg")
            write_mask(root / "annotations" / split / f"ADE_{split}_{i:08d}.png", (0, 1, 7, 150))
    return folder
