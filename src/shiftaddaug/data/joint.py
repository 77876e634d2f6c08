"""Images and masks augmented together by torchvision: scaled, cropped, mirrored; colours of images alone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from shiftaddaug.data.mask_settings import IGNORED, MaskSettings
from shiftaddaug.nets.sizes import Size

Joint = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Image uint8 (C, h, w) and mask uint8 (h, w) to those of another size."""


def fitting(stored: Size, size: Size, scale: float = 1.0) -> Size:
    """Return the size of an image that is scaled until it just fits into `size`, then by a factor.

    NOTE: torchvision's ScaleJitter takes the target's height for its width.
    """
    factor = scale * min(size[0] / stored[0], size[1] / stored[1])
    return max(1, round(factor * stored[0])), max(1, round(factor * stored[1]))


class TrainingTransform:
    """Scale by a random factor, crop `image_size` at random, mirror, and change the colours.

    A factor of 1 makes an image fit into `eval_size`, as evaluation does. What a crop has beyond the image is of the
    mean colour, and not learned. Whatever is off draws nothing.
    """

    def __init__(self, settings: MaskSettings) -> None:
        self.scale, self.evaluated = settings.scale, settings.evaluated
        fill: dict[Any, Any] = {tv_tensors.Image: mean_levels(settings), tv_tensors.Mask: IGNORED}
        self.crop = v2.RandomCrop(settings.size, pad_if_needed=True, fill=fill)
        flip = [v2.RandomHorizontalFlip()] if settings.horizontal_flip else []
        self.then = [*flip, *_jitter(settings)]

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.scale
        factor = low if low == high else low + (high - low) * float(torch.rand(()))
        size = fitting((image.shape[-2], image.shape[-1]), self.evaluated, factor)
        pair = resized(image, mask, size)
        for transform in (self.crop, *self.then):
            pair = transform(*pair)
        return pair[0].as_subclass(Tensor), pair[1].as_subclass(Tensor)


class EvaluationTransform:
    """Scale an image, its proportions kept, until it fits into `eval_size`; what it leaves free is not judged."""

    def __init__(self, settings: MaskSettings) -> None:
        self.size, self.levels = settings.evaluated, mean_levels(settings)

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return fit(image, mask, self.size, self.levels)


def fit(image: Tensor, mask: Tensor, size: Size, levels: list[float]) -> tuple[Tensor, Tensor]:
    """Scale an image, its proportions kept, until it fits into a size, and put it in the middle of a colour.

    Args:
        image: uint8 (C, h, w).
        mask: uint8 (h, w) or (classes, h, w); it is not labelled where the image leaves something free.
        size: (height, width) of the result.
        levels: of the colour, one for each channel.
    """
    height, width = scaled = fitting((image.shape[-2], image.shape[-1]), size)
    pair = resized(image, mask, scaled)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    edges = [left, top, size[1] - width - left, size[0] - height - top]
    if any(edges):
        pair = functional.pad(pair[0], edges, fill=levels), functional.pad(pair[1], edges, fill=IGNORED)
    return pair[0].as_subclass(Tensor), pair[1].as_subclass(Tensor)


def resized(image: Tensor, mask: Tensor, size: Size) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Return an image of that size, bilinear and antialiased, and its mask, of the nearest labels."""
    pair = tv_tensors.Image(image), tv_tensors.Mask(mask)
    if (image.shape[-2], image.shape[-1]) == size:
        return pair
    return functional.resize(pair[0], list(size)), functional.resize(pair[1], list(size))


def mean_levels(settings: MaskSettings) -> list[float]:
    """Return the mean colour, whole numbers of 0..255: 0 for a network, about."""
    return [float(round(255 * level)) for level in settings.mean]


def _jitter(settings: MaskSettings) -> list[Callable[..., Any]]:
    colourful = settings.in_channels == 3
    strength = {"brightness": settings.brightness, "contrast": settings.contrast}
    strength |= {"saturation": settings.saturation, "hue": settings.hue} if colourful else {}
    return [v2.ColorJitter(**strength)] if any(strength.values()) else []
