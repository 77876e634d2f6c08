"""The split of a folder of classes into images for training, validation and test. Imports no torch.

An image's place in the order of its class is a hash of the seed and of its path below the folder. So the split depends
neither on the machine, nor on the order in which a file system lists files, nor on where the folder lies; and a folder
that grows keeps nearly all of its images where they were.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from shiftaddaug.errors import UserError

Sample = tuple[Path, int]
"""(file, label)"""


class Split(NamedTuple):
    """Images of each part, in the order in which they were given."""

    train: list[Sample]
    val: list[Sample]
    test: list[Sample]


def least_images(val_fraction: float) -> int:
    """Return how many images a class needs to be split: one for each part."""
    return 3 if val_fraction else 2


def refuse_few(root: Path, counts: Mapping[str, int], least: int) -> None:
    """Refuse classes of too few images.

    Args:
        root: folder of the class folders.
        counts: images of each class.
        least: that a class needs: 1, or as `least_images`.

    Raises:
        UserError: naming the first.
    """
    few = [name for name, count in counts.items() if count < least]
    if not few:
        return
    count, more = counts[few[0]], f"; {len(few) - 1} more classes have too few" if len(few) > 1 else ""
    if not count:
        raise UserError(f"data.data_dir={root}: no image in class folder {root / few[0]}{more}")
    parts = "training, validation and test" if least > 2 else "training and test"
    images = "1 image" if count == 1 else f"{count} images"
    raise UserError(
        f"data.data_dir={root}: class {few[0]} has {images}, and is split into {parts}; it needs {least} or more{more}"
    )


def split_classes(
    root: Path, samples: Sequence[Sample], names: Sequence[str], *, test_fraction: float, val_fraction: float, seed: int
) -> Split:
    """Split the images of every class alike.

    Each class gives round(test_fraction * images) for test, at least one, and round(val_fraction * rest) of the rest
    for validation, at least one unless the fraction is 0. At least one is left for training.

    Args:
        root: folder that all files lie in.
        samples: all images.
        names: of the classes, by label.
        test_fraction: in (0, 1).
        val_fraction: in [0, 1); 0 validates nothing.
        seed: `data.split_seed`.

    Raises:
        UserError: a class has too few images.
    """
    least = least_images(val_fraction)
    by_class: list[list[int]] = [[] for _ in names]
    for index, (_, label) in enumerate(samples):
        by_class[label].append(index)
    refuse_few(root, dict(zip(names, map(len, by_class), strict=True)), least)
    test, val = set[int](), set[int]()
    for indices in by_class:
        ordered = sorted(indices, key=lambda index: (_rank(samples[index][0], root, seed), samples[index][0]))
        tested = _share(test_fraction, len(ordered), leave=least - 1)
        validated = _share(val_fraction, len(ordered) - tested, leave=1) if val_fraction else 0
        test.update(ordered[:tested])
        val.update(ordered[tested : tested + validated])
    train = set(range(len(samples))) - test - val
    return Split(*([samples[index] for index in sorted(part)] for part in (train, val, test)))


def _share(fraction: float, count: int, leave: int) -> int:
    return min(max(1, round(fraction * count)), count - leave)


def _rank(path: Path, root: Path, seed: int) -> str:
    name = unicodedata.normalize("NFC", path.relative_to(root).as_posix())  # macOS lists names decomposed
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).hexdigest()
