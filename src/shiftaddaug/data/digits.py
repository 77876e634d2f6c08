"""The 1797 handwritten digits that come with scikit-learn: nothing to download."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from shiftaddaug.data.augment import resize_images
from shiftaddaug.data.checks import HELD, check_values
from shiftaddaug.data.in_memory import InMemoryDataModule, LabelledImages, LoadedSet
from shiftaddaug.data.sampling import stratified_split


class DigitsDataModule(InMemoryDataModule):
    """Grey 8x8 digits, ten classes, brought to `image_size` once, at setup (the set is small).

    scikit-learn does not split them; test images are a stratified fraction fixed by `split_seed`.

    Args:
        test_fraction: of all images, kept as the test set; in (0, 1).
        others: see InMemoryDataModule.
    """

    def __init__(
        self,
        name: Literal["digits"] = "digits",
        num_classes: int | None = None,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 32,
        batch_size: int = 64,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        seed: int = 0,
        mean: Iterable[float] = (0.305,),
        std: Iterable[float] = (0.324,),
        crop_padding: float = 0.0625,
        horizontal_flip: bool = False,
    ) -> None:
        super().__init__(
            name=name,
            num_classes=HELD["digits"][0] if num_classes is None else num_classes,
            in_channels=in_channels,
            image_size=image_size,
            batch_size=batch_size,
            val_fraction=val_fraction,
            split_seed=split_seed,
            seed=seed,
            mean=mean,
            std=std,
            crop_padding=crop_padding,
            horizontal_flip=horizontal_flip,
        )
        check_values({"test_fraction": test_fraction})
        self.test_fraction = test_fraction

    def load(self) -> LoadedSet:
        pixels, labels = read_digits()
        stored = pixels.float().mul(255 / 16).round().byte().view(-1, 1, 8, 8)
        images = resize_images(stored, self.image_size)
        kept, test = stratified_split(labels, self.test_fraction, self.split_seed)
        return LoadedSet(
            train=LabelledImages(images[kept], labels[kept]),
            test=LabelledImages(images[test], labels[test]),
            num_classes=HELD["digits"][0],
        )


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
