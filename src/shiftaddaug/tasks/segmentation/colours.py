"""Masks as pictures: a colour for each class, those of PASCAL VOC's palette."""

import torch
from torch import Tensor

COLOURS = 256
IGNORED = COLOURS - 1
"""Index of the colour of pixels that count nowhere."""


def palette() -> Tensor:
    """Return the colours, uint8 (256, 3): bits 3k, 3k + 1, 3k + 2 of a label are bit 7 - k of red, green, blue."""
    labels = torch.arange(COLOURS)[:, None]
    channels = torch.arange(3)
    colours = torch.zeros(COLOURS, 3, dtype=torch.long)
    for k in range(8):
        colours |= ((labels >> (3 * k + channels)) & 1) << (7 - k)
    return colours.byte()


def layer(mask: Tensor, ignored: int) -> Tensor:
    """Return the one label that shows at each pixel, uint8 (H, W); 255 is what counts nowhere.

    Args:
        mask: labels (H, W), or no and yes (labels, H, W): there the last label that is at a pixel shows, counted from
            1, and 0 is none.
        ignored: label of pixels that count nowhere.
    """
    if mask.ndim == 3:
        number = torch.arange(1, len(mask) + 1, device=mask.device).view(-1, 1, 1)
        unlabelled = (mask == ignored).all(0)
        mask = torch.where(unlabelled, ignored, ((mask == 1) * number).amax(0))
    return torch.where(mask == ignored, IGNORED, mask.remainder(IGNORED)).byte()


def picture(mask: Tensor, ignored: int) -> Tensor:
    """Return a mask in colours, see `layer`, uint8 (3, H, W)."""
    return palette().to(mask.device)[layer(mask, ignored).long()].movedim(-1, 0)
