"""The 1797 handwritten digits that come with scikit-learn: nothing to download."""

import dataclasses
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shiftaddaug.data.augment import resize_images
from shiftaddaug.data.in_memory import InMemoryDataModule, LabelledImages, LoadedSet
from shiftaddaug.data.sampling import stratified_split
from shiftaddaug.data.settings import DigitsSettings
from shiftaddaug.nets.interface import Preprocessing


class DigitsDataModule(InMemoryDataModule):
    """Grey 8x8 digits, ten classes, brought to `image_size` once, at setup (the set is small).

    scikit-learn does not split them; test images are a stratified fraction fixed by `split_seed`.
    """

    settings: DigitsSettings

    def load(self) -> LoadedSet:
        pixels, labels = read_digits()
        stored = pixels.float().mul(255 / 16).round().byte().view(-1, 1, 8, 8)
        images = resize_images(stored, self.settings.size)
        kept, test = stratified_split(labels, self.settings.test_fraction, self.settings.split_seed)
        return LoadedSet(
            train=LabelledImages(images[kept], labels[kept]),
            test=LabelledImages(images[test], labels[test]),
            num_classes=self.settings.held()[0],
        )

    def class_names(self) -> list[str]:
        """Return the digits."""
        return [str(digit) for digit in range(self.num_classes)]

    def preprocessing(self) -> Preprocessing | None:
        """Return that of sets in memory; but digits are enlarged once, and so rounded to whole levels."""
        stated = super().preprocessing()
        return None if stated is None else dataclasses.replace(stated, enlarged="levels")


def read_digits() -> tuple[Tensor, Tensor]:
    """What scikit-learn's `load_digits` returns, read from its file where that is found.

    Importing scikit-learn takes longer than all else that is done before the first training step.

    Returns:
        Pixels 0..16, float64 (1797, 64), and labels, int64 (1797,).
    """
    package = find_spec("sklearn")  # looks where it lies, imports nothing
    path = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else None
    if path is not None and path.exists():
        rows = np.loadtxt(path, delimiter=",")
        pixels, labels = rows[:, :-1], rows[:, -1]
    else:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
    return torch.from_numpy(pixels), torch.from_numpy(labels).long()
