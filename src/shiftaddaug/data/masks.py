"""Images and masks: read from files or memory, and augmented together."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shiftaddaug.data.loading import DrawnItems
from shiftaddaug.data.mask_settings import IGNORED, MaskCode
from shiftaddaug.data.pairs import Pair
from shiftaddaug.data.pixels import PIL_MODES, read_picture
from shiftaddaug.errors import UserError

Sample = tuple[Tensor, Tensor]
"""Image uint8 (C, H, W), and mask uint8 (H, W) of labels, 255 being what is not learned; or masks (classes, H, W) that
say no (0) or yes (1) of each class."""

_NONE = -1
"""Entry of a table for values that are no label."""


class Samples(ABC):
    """Images and masks as they are stored."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The image and the mask at an index.

        Raises:
            UserError: they cannot be read, or do not fit each other.
        """

    @abstractmethod
    def at(self, indices: Sequence[int]) -> "Samples":
        """Return the samples at some indices, in that order."""


class StoredSamples(Samples):
    """Images uint8 (N, C, H, W) and masks uint8 (N, H, W) in memory."""

    def __init__(self, images: Tensor, masks: Tensor) -> None:
        self.images, self.masks = images, masks

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> Sample:
        return self.images[index], self.masks[index]

    def at(self, indices: Sequence[int]) -> "StoredSamples":
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return StoredSamples(self.images[chosen], self.masks[chosen])


class FileSamples(Samples):
    """Images and masks in files, decoded when asked for.

    NOTE: an EXIF tag that turns the image is not obeyed, as torchvision's data sets do: masks lie as pixels are stored.
    """

    def __init__(self, pairs: Sequence[Pair], code: MaskCode, channels: int) -> None:
        self.pairs, self.code, self.channels = pairs, code, channels

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> Sample:
        pair = self.pairs[index]
        image = np.array(read_picture(pair.image, PIL_MODES[self.channels], turned=False))
        _, *files = pair.files()
        layers = [read_mask(path, self.code) for path in files]
        for path, layer in zip(files, layers, strict=True):
            if image.shape[:2] != layer.shape:
                (height, width), (rows, columns) = image.shape[:2], layer.shape
                raise UserError(
                    f"{path}: is {columns} x {rows} px (width x height), and its image {pair.image} {width} x {height}"
                )
        mask = np.stack(layers) if isinstance(pair.mask, tuple) else layers[0]
        return torch.from_numpy(np.atleast_3d(image)).movedim(-1, 0), torch.from_numpy(mask)

    def at(self, indices: Sequence[int]) -> "FileSamples":
        return FileSamples([self.pairs[i] for i in indices], self.code, self.channels)


class MaskedImages(DrawnItems):
    """Samples as a loader yields them, each transformed by itself, image and mask together.

    Args:
        samples: stored.
        transform: may draw from torch's global CPU generator.
    """

    def __init__(self, samples: Samples, transform: Callable[[Tensor, Tensor], Sample]) -> None:
        self.samples, self.transform = samples, transform

    def __len__(self) -> int:
        return len(self.samples)

    def _load(self, index: int) -> Sample:
        return self.transform(*self.samples.read(index))


def read_mask(path: Path, code: MaskCode) -> np.ndarray[Any, Any]:
    """Return the labels in a picture of grey values, palette indices or colours.

    Returns:
        uint8 (H, W), 255 being what is not learned.

    Raises:
        UserError: it cannot be read, or holds what is no label: the line says where.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            if code.colours is not None:
                values = np.array(file.convert("RGB"))
            elif file.mode in ("1", "L", "P", "I") or file.mode.startswith("I;16"):
                values = np.array(file)
            else:
                raise UserError(
                    f"{path}: is in colours (mode {file.mode}); data.palette must say which colour is which class"
                )
    except UserError:
        raise
    except Exception as error:  # a damaged picture may raise nearly anything
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as a mask ({type(error).__name__}: {reason})") from error
    labels = _labels_of_levels(values, code) if code.colours is None else _labels_of_colours(values, code)
    if labels.min(initial=0) < 0:
        _refuse(path, values, labels, code)
    return labels.astype(np.uint8)


def _labels_of_levels(values: np.ndarray[Any, Any], code: MaskCode) -> np.ndarray[Any, Any]:
    values = values.astype(np.int64)
    known = {value: value for value in range(256)} if code.labels is None else code.labels
    table = np.full(257, IGNORED if code.others_ignored else _NONE, np.int16)
    for value, label in known.items():
        yielded = code.yielded(label)
        table[value] = _NONE if yielded is None else yielded
    inside = (values >= 0) & (values < 256)
    result: np.ndarray[Any, Any] = table[np.where(inside, values, 256)]
    return result


def _labels_of_colours(values: np.ndarray[Any, Any], code: MaskCode) -> np.ndarray[Any, Any]:
    assert code.colours is not None
    packed = values.astype(np.int64) @ (1 << np.array([16, 8, 0]))
    keys = np.array(code.colours) @ (1 << np.array([16, 8, 0]))
    yielded = [code.yielded(label) for label in range(len(keys))]
    labels = np.array([_NONE if each is None else each for each in yielded], np.int16)
    order = keys.argsort()
    place = order[np.searchsorted(keys, packed, sorter=order).clip(max=len(keys) - 1)]
    other = IGNORED if code.others_ignored else _NONE
    result: np.ndarray[Any, Any] = np.where(keys[place] == packed, labels[place], other)
    return result


def _refuse(path: Path, values: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], code: MaskCode) -> None:
    """Say which value is no label, and where.

    Raises:
        UserError: always.
    """
    row, column = (int(place[0]) for place in np.nonzero(labels < 0))
    value, where = values[row, column], f"at row {row}, column {column}"
    if code.colours is not None:
        colour = tuple(int(level) for level in value)
        if colour in code.colours:
            label = code.colours.index(colour)
            raise UserError(f"{path}: colour {colour} {where} is label {label}, {_beyond(code, label)}")
        raise UserError(f"{path}: colour {colour} {where} is none of data.palette")
    if code.labels is not None and int(value) not in code.labels:
        options = ", ".join(map(str, sorted(code.labels)))
        raise UserError(f"{path}: value {value} {where} stands for no label; options: {options}")
    label = int(value) if code.labels is None else code.labels[int(value)]
    raise UserError(f"{path}: label {label} {where}, {_beyond(code, label)}")


def _beyond(code: MaskCode, label: int) -> str:
    ignored = "null" if code.ignored is None else code.ignored
    return (
        f"and data.num_classes={code.classes} has labels 0..{code.classes - 1}, data.ignore_index={ignored}; "
        f"data.ignore_index={label} leaves it out"
    )
