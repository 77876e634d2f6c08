"""Images as tensors: resizing once, cropping and flipping per batch, normalising. No Python per image.

Stored images are uint8 (N, C, H, W), 0..255; a network is fed float32.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.nets.sizes import Size, as_size

_RESIZE_CHUNK = 4096  # images turned to float at a time: bounds the memory that resizing a data set takes


def resize_images(images: Tensor, size: int | Size) -> Tensor:
    """Resize images once, rounding to whole grey levels (halves to even).

    By whole ratios a smaller image is the mean of each rectangle of pixels (2x2 means for half the size);
    otherwise bilinear, antialiased when smaller.

    Args:
        images: uint8 (N, C, H, W).
        size: wanted height and width, in pixels; one number for both.

    Returns:
        uint8 (N, C, *size); `images` itself if it has that size.
    """
    wanted = as_size(size)
    if images.shape[-2:] == wanted:
        return images
    return torch.cat([_resize_float(chunk.float(), wanted).round().byte() for chunk in images.split(_RESIZE_CHUNK)])


def _resize_float(images: Tensor, size: Size) -> Tensor:
    (height, width), stored = size, images.shape[-2:]
    if stored[0] % height == 0 and stored[1] % width == 0:
        return F.avg_pool2d(images, (stored[0] // height, stored[1] // width))
    smaller = stored[0] > height or stored[1] > width
    return F.interpolate(images, size=size, mode="bilinear", antialias=smaller)


def enlarged(images: Tensor, size: Size) -> Tensor:
    """Return uint8 images as float32 of 0..1 and that size: bilinear, not rounded to levels; no larger ones.

    Args:
        images: uint8 (N, C, h, w), as high and as wide as `size` at most.
        size: (height, width), in pixels.
    """
    unit = to_unit(images)
    return unit if images.shape[-2:] == size else F.interpolate(unit, size=size, mode="bilinear")


def random_crop_flip(images: Tensor, padding: int, flip: bool) -> Tensor:
    """Crop each image at its own place out of its black-padded self, and mirror every other one by chance.

    Draws come from torch's global CPU generator, so that a seed gives the same images on every device. As many
    are drawn whatever the options, so that two runs that differ in one option draw alike in the other.

    Args:
        images: uint8 (N, C, H, W).
        padding: black pixels on every side before the crop; 0 leaves the image where it is.
        flip: whether each image is mirrored left to right with probability 1/2.

    Returns:
        uint8 (N, C, H, W).
    """
    count = len(images)
    top = torch.randint(2 * padding + 1, (count,))
    left = torch.randint(2 * padding + 1, (count,))
    mirror = torch.rand(count) < 0.5
    if not flip:
        mirror = torch.zeros_like(mirror)
    device = images.device
    return crop_flip(images, padding, top.to(device), left.to(device), mirror.to(device))


def crop_flip(images: Tensor, padding: int, top: Tensor, left: Tensor, mirror: Tensor) -> Tensor:
    """Crop image i at row top[i] and column left[i] of its black-padded self, then mirror it where mirror[i].

    Args:
        images: (N, C, H, W), any type.
        padding: black pixels on every side.
        top, left: int64 (N,), 0..2*padding.
        mirror: bool (N,).

    Returns:
        (N, C, H, W), the type of `images`.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (padding, padding, padding, padding))
    # Every window of the padded image as a view, so that one gather copies the chosen ones row by row.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    crops = windows[torch.arange(len(images), device=images.device), :, top, left]
    return torch.where(mirror.view(-1, 1, 1, 1), crops.flip(-1), crops)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return float32 (images - mean) / std, per channel.

    Args:
        images: float (N, C, H, W), 0..1.
        mean, std: C values each, in the units of `images`.
    """
    shape = (1, -1, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)


def to_unit(images: Tensor) -> Tensor:
    """Return uint8 0..255 as float32 0..1, same shape."""
    return images.float() / 255
