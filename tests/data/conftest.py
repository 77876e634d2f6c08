"""Tiny data sets in the real ones' file formats, made afresh for each test."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shiftaddaug.data.cifar_layout import CIFAR_LAYOUTS

TRAIN_IMAGES = 400  # four per class of CIFAR-100


def cifar_record(name: str, count: int, seed: int) -> dict[str, Any]:
    layout = CIFAR_LAYOUTS[name]
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": pixels, layout.labels_key: [i % layout.num_classes for i in range(count)]}


@pytest.fixture
def make_cifar(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small CIFAR of a name and pickle protocol; returns the folder to give as data_dir."""

    def make(name: str = "cifar100", protocol: int = 4) -> Path:
        layout = CIFAR_LAYOUTS[name]
        folder = tmp_path / layout.folder
        folder.mkdir()
        for seed, file in enumerate(layout.image_files):
            count = 100 if file in layout.test_files else TRAIN_IMAGES // len(layout.train_files)
            (folder / file).write_bytes(pickle.dumps(cifar_record(name, count, seed), protocol))
        return tmp_path

    return make


@pytest.fixture
def make_folders(tmp_path: Path) -> Callable[..., Path]:
    """Writes PNG trees with `counts[split]` images per class; an image's red level is its number in its class."""

    def make(counts: dict[str, int], classes: tuple[str, ...] = ("cat", "dog"), size: int = 12) -> Path:
        for split, count in counts.items():
            for label, name in enumerate(classes):
                folder = tmp_path / split / name
                folder.mkdir(parents=True)
                for i in range(count):
                    Image.new("RGB", (size, size + 4), (i, 100 * label, 7)).save(folder / f"{i:03d}.png")
        return tmp_path

    return make
