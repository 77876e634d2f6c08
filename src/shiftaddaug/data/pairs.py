"""Which mask belongs to which image, found by their names without opening a file. Imports no torch."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from shiftaddaug.data.listing import IMAGE_SUFFIXES, is_left_behind
from shiftaddaug.errors import UserError, printable

MASK_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".webp")


class Pair(NamedTuple):
    """Files of an image and of its mask."""

    image: Path
    mask: Path | tuple[Path, ...]
    """One file, or one for each class, that says where the class is."""

    def files(self) -> tuple[Path, ...]:
        """Return all files, the image first."""
        return (self.image, *(self.mask if isinstance(self.mask, tuple) else (self.mask,)))


def pairs_in(images: Path, masks: Path) -> list[Pair]:
    """Return the pairs of two folders, by names without their suffix, sorted.

    Raises:
        UserError: a folder is missing or empty, or an image has no mask, or a mask no image.
    """
    return paired(files_in(images, IMAGE_SUFFIXES), files_in(masks, MASK_SUFFIXES), images, masks)


def layered(images: Path, masks: Path, classes: Iterable[str]) -> list[Pair]:
    """Return pairs of images with a mask for each class, in folders of the classes' names, sorted.

    Raises:
        UserError: as `pairs_in`.
    """
    layers = [pairs_in(images, masks / name) for name in classes]
    return [
        Pair(same[0].image, tuple(path for pair in same for path in pair.files()[1:]))
        for same in zip(*layers, strict=True)
    ]


def paired(images: Mapping[str, Path], masks: Mapping[str, Path], of: Path, at: Path) -> list[Pair]:
    """Return the pairs of files with the same key, sorted by it.

    Args:
        images, masks: files by key.
        of, at: folders of the images and of the masks, for messages.

    Raises:
        UserError: one is without the other.
    """
    for have, lack, what, where in ((images, masks, "image", at), (masks, images, "mask", of)):
        missing = sorted(have.keys() - lack.keys())
        if missing:
            other = "mask" if what == "image" else "image"
            count = f"{len(missing)} {what}s have" if len(missing) > 1 else f"this {what} has"
            raise UserError(f"{have[missing[0]]}: {count} no {other} of that name in {where}")
    return [Pair(images[key], masks[key]) for key in sorted(images)]


def files_in(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Return the files of a folder by name without suffix; what a system or a program left there is left out.

    Raises:
        UserError: it cannot be read, has no such file, or has two of one name.
    """
    found: dict[str, Path] = {}
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error
    for path in files:
        if is_left_behind(path.name):
            continue
        if path.stem in found:
            raise UserError(f"{path}: {printable(found[path.stem].name)} has the same name without its suffix")
        found[path.stem] = path
    if not found:
        raise UserError(f"{folder}: holds no file that ends in {', '.join(suffixes)}")
    return found


def listed(names: Path) -> list[str]:
    """Return the first words of a file's lines, empty lines and comments (#) left out.

    Raises:
        UserError: it cannot be read.
    """
    try:
        lines = names.read_text().splitlines()
    except OSError as error:
        raise UserError(f"{names}: cannot be read ({error.strerror})") from error
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def existing(names: Iterable[str], images: Path, masks: Path, suffix: str = ".jpg") -> list[Pair]:
    """Return the pairs that a list of names stands for, in its order.

    Raises:
        UserError: a file is not there.
    """
    pairs = [Pair(images / f"{name}{suffix}", masks / f"{name}.png") for name in names]
    held = {path for folder in (images, masks) if folder.is_dir() for path in folder.iterdir()}
    for pair in pairs:
        for path in pair.files():
            if path not in held:
                raise UserError(f"{path}: is listed, and not there")
    return pairs
