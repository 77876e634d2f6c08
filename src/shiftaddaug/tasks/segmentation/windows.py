"""Evaluation of large images by windows that slide over them."""

from collections.abc import Callable

import torch
from torch import Tensor

from shiftaddaug.nets.sizes import Size
from shiftaddaug.tasks.base import at_least_float32


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Return where windows begin along a side: evenly, but for the last one, which ends with the image.

    Args:
        length: of the image, in pixels.
        window: of each window; at most `length`.
        overlap: share of a window that the next one covers, too, in [0, 1).
    """
    stride = max(1, round(window * (1 - overlap)))
    last = length - window
    return [*range(0, last, stride), last]


def slide(net: Callable[[Tensor], Tensor], images: Tensor, window: Size, overlap: float) -> Tensor:
    """Return the mean of the logits that the windows over each pixel give it.

    Args:
        net: images (N, C, h, w) to logits (N, classes, h, w).
        images: (N, C, H, W), at least as large as a window.
        window: (h, w).
        overlap: see `starts`.

    Returns:
        Logits (N, classes, H, W), at least float32.
    """
    height, width = window
    places = [(top, left) for top in starts(images.shape[-2], height, overlap)
              for left in starts(images.shape[-1], width, overlap)]  # fmt: skip
    total: Tensor | None = None
    count = torch.zeros(images.shape[-2:], device=images.device)
    for top, left in places:
        part = (..., slice(top, top + height), slice(left, left + width))
        logits = at_least_float32(net(images[part]))
        if total is None:
            total = logits.new_zeros(*logits.shape[:2], *images.shape[-2:])
        total[part] += logits
        count[part[1:]] += 1
    assert total is not None
    return total / count
