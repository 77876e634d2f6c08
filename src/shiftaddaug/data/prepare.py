"""Prepare any picture as evaluation does, by the plain data that a target carries (`nets/interface.py`).

Evaluation's own code is called here wherever it can be, and tests compare the two bit by bit.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shiftaddaug.data import augment
from shiftaddaug.data.pixels import PIL_MODES, as_shown, read_picture
from shiftaddaug.nets.interface import Preprocessing
from shiftaddaug.nets.sizes import Size


class ImageTransform:
    """A picture as the network is fed it: a file, or a PIL image of any mode, to float32 (C, H, W), normalised.

    Grey, palettes, transparency (on white), 16 bits and CMYK are read as a viewer shows them (`pixels.py`).

    Args:
        preprocessing: of the network.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, picture: Any) -> Tensor:
        """Prepare one picture.

        Raises:
            UserError: a file that cannot be read as an image.
            NoPicture: values of a PIL image that are no grey levels or colours.
        """
        return self.prepared(self.read(picture))

    def read(self, picture: Any) -> Any:
        """Return a file or a PIL image as a PIL image of the mode that the network reads."""
        mode, turned = PIL_MODES[self.preprocessing.channels], self.preprocessing.upright
        if isinstance(picture, str | Path):
            return read_picture(Path(picture), mode, turned)
        return as_shown(picture.copy(), mode, turned)

    def prepared(self, image: Any) -> Tensor:
        """Return what `read` returns as the network is fed it."""
        unit = _WAYS[self.preprocessing.resize](image, self.preprocessing)
        return augment.normalise(unit, self.preprocessing.mean, self.preprocessing.std)[0]


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in what the network sees of it."""

    scaled: Size
    """(height, width) of the scaled picture."""
    top: int
    left: int
    """Row and column of its upper left corner; negative where it is cropped."""


def placement(stored: Size, preprocessing: Preprocessing) -> Placement:
    """Return where a picture of a size (height, width) lies in what the network sees."""
    from shiftaddaug.data.joint import fitting

    size = preprocessing.height_and_width
    if preprocessing.resize == "stretch":
        return Placement(size, 0, 0)
    if preprocessing.resize == "fit":
        scaled = fitting(stored, size)
        return Placement(scaled, (size[0] - scaled[0]) // 2, (size[1] - scaled[1]) // 2)
    shorter = covering(stored, size, preprocessing.share or 1.0)
    short, long = sorted(stored)
    longer = int(shorter * long / short)  # as torchvision's resize
    scaled = (shorter, longer) if stored[0] <= stored[1] else (longer, shorter)
    top, left = (-round((side - kept) / 2) for side, kept in zip(scaled, size, strict=True))
    return Placement(scaled, top, left)


def covering(stored: Size, size: Size, share: float) -> int:
    """Return the shorter side of a picture that is scaled until a size is at most a share of what it covers."""
    height, width = (math.ceil(side / share - 1e-9) for side in size)
    return round(max(height / stored[0], width / stored[1]) * min(stored))


def restored(mask: Tensor, stored: Size, preprocessing: Preprocessing, beyond: int) -> Tensor:
    """Return a mask at the size of the picture that it is of, each pixel the nearest one that the network said.

    Args:
        mask: of what the network saw, (H, W).
        stored: (height, width) of the picture.
        preprocessing: how the picture was prepared.
        beyond: label of what the network did not see.
    """
    place = placement(stored, preprocessing)
    rows, columns = (
        (torch.arange(length) * 2 + 1) * scaled // (2 * length) + start
        for length, scaled, start in zip(stored, place.scaled, (place.top, place.left), strict=True)
    )
    seen = ((rows >= 0) & (rows < mask.shape[0]))[:, None] & (columns >= 0) & (columns < mask.shape[1])
    nearest = mask[rows.clamp(0, mask.shape[0] - 1)][:, columns.clamp(0, mask.shape[1] - 1)]
    return torch.where(seen, nearest, torch.full_like(nearest, beyond))


def _stretched(image: Any, preprocessing: Preprocessing) -> Tensor:
    images, size = _levels(image).contiguous()[None], preprocessing.height_and_width
    smaller = tuple(min(sides) for sides in zip(images.shape[-2:], size, strict=True))
    first = size if preprocessing.enlarged == "levels" else (smaller[0], smaller[1])
    return augment.enlarged(augment.resize_images(images, first), size)


def _covered(image: Any, preprocessing: Preprocessing) -> Tensor:
    from torchvision.transforms.v2 import functional

    size = preprocessing.height_and_width
    shorter = covering((image.height, image.width), size, preprocessing.share or 1.0)
    return augment.to_unit(_levels(functional.center_crop(functional.resize(image, [shorter]), list(size)))[None])


def _fitted(image: Any, preprocessing: Preprocessing) -> Tensor:
    from shiftaddaug.data.joint import fit

    levels = _levels(image)
    unlabelled = torch.zeros(levels.shape[-2:], dtype=torch.uint8)
    fill = [float(level) for level in preprocessing.fill or ()]
    return augment.to_unit(fit(levels, unlabelled, preprocessing.height_and_width, fill)[0][None])


_WAYS = {"stretch": _stretched, "cover": _covered, "fit": _fitted}
"""Functions of a PIL image that return float32 (1, C, H, W) of 0..1, by `Preprocessing.resize`."""


def _levels(image: Any) -> Tensor:
    """Return a PIL image as uint8 (C, H, W), laid out as data modules have it that read files."""
    return torch.from_numpy(np.atleast_3d(np.array(image))).movedim(-1, 0)
