"""Textured shapes with masks, drawn from a seed: nothing to download."""

import math
from typing import Any

import numpy as np
import torch

from shiftaddaug.data.mask_settings import ShapesSettings
from shiftaddaug.data.masks import Samples, StoredSamples
from shiftaddaug.data.segmentation import SegmentationDataModule
from shiftaddaug.nets.sizes import Size

Array = np.ndarray[Any, Any]


class ShapesDataModule(SegmentationDataModule):
    """Colour images of striped discs, checked squares and plain triangles over each other, turned at random.

    Colours say nothing of the class. Labels: 0 background, 1 disc, 2 square, 3 triangle.
    """

    settings: ShapesSettings

    def load(self) -> dict[str, Samples]:
        """Draw the images of training and test."""
        counts = {"train": self.settings.train_images, "test": self.settings.test_images}
        return {split: self._drawn(number, count) for number, (split, count) in enumerate(counts.items())}

    def _drawn(self, number: int, count: int) -> StoredSamples:
        seed, noise = self.settings.draw_seed, 255 * self.settings.noise
        drawn = [draw(self.settings.size, (seed, number, i), noise) for i in range(count)]
        images, masks = (np.stack(parts) for parts in zip(*drawn, strict=True))
        return StoredSamples(torch.from_numpy(images).movedim(-1, 1).contiguous(), torch.from_numpy(masks))


def draw(size: Size, seed: tuple[int, ...], noise: float) -> tuple[Array, Array]:
    """Return an image of one to four shapes, and its mask.

    Args:
        size: (height, width), in pixels.
        seed: of everything that is drawn.
        noise: standard deviation, in levels of 0..255.

    Returns:
        uint8 (H, W, 3) and uint8 (H, W).
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    image, mask = _texture(rng, 0, y, x), np.zeros(size, np.uint8)
    for _ in range(rng.integers(1, 5)):
        label = int(rng.integers(1, 4))
        inside = _shape(rng, label, y, x, size)
        image[inside] = _texture(rng, label, y, x)[inside]
        mask[inside] = label
    image += rng.normal(0, noise, image.shape) if noise else 0
    return image.clip(0, 255).round().astype(np.uint8), mask


def _texture(rng: np.random.Generator, label: int, y: Array, x: Array) -> Array:
    """A surface of two random colours, (H, W, 3): a gradient, stripes, checks, or a single colour, by label."""
    colour, contrast = rng.uniform(60, 195, 3), rng.uniform(25, 55, 3) * rng.choice([-1, 1], 3)
    angle, frequency, phase = rng.uniform(0, math.pi), rng.uniform(0.8, 1.2), rng.uniform(0, 2 * math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    waves = {
        0: np.sin(0.06 * along + phase),
        1: np.sin(frequency * along + phase),
        2: np.sign(np.sin(frequency * along + phase) * np.sin(frequency * across)),
        3: np.zeros_like(along),
    }
    return np.asarray(colour + waves[label][..., None] * contrast)


def _shape(rng: np.random.Generator, label: int, y: Array, x: Array, size: Size) -> Array:
    """Pixels that a shape covers, bool (H, W)."""
    radius = rng.uniform(0.15, 0.32) * min(size)
    middle, angle = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0, 2 * math.pi)
    across, down = (x - middle[1]) / radius, (y - middle[0]) / radius
    u, v = across * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - across * math.sin(angle)
    if label == 1:
        return np.asarray(u**2 + v**2 < 1)
    if label == 2:
        return np.asarray(np.maximum(abs(u), abs(v)) < 0.85)
    return np.asarray((v > -0.6) & (math.sqrt(3) * abs(u) + v < 1.2))
