"""The split of a folder of classes."""

import random
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from shiftaddaug.data.folder_split import Sample, Split, split_classes
from shiftaddaug.errors import UserError

NAMES = ("cat", "dog")


def samples(root: Path, cats: int, dogs: int) -> list[Sample]:
    return [
        (root / name / f"{i:03d}.png", label)
        for label, (name, count) in enumerate(zip(NAMES, (cats, dogs), strict=True))
        for i in range(count)
    ]


def split(given: list[Sample], root: Path = Path("/a"), seed: int = 0, val: float = 0.1) -> Split:
    return split_classes(root, given, NAMES, test_fraction=0.2, val_fraction=val, seed=seed)


def names(part: list[Sample], root: Path = Path("/a")) -> set[str]:
    return {path.relative_to(root).as_posix() for path, _ in part}


@pytest.mark.parametrize(
    ("cats", "wanted"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (20, (14, 2, 4)), (100, (72, 8, 20)), (501, (361, 40, 100))]
)
def test_every_class_gives_its_share_and_every_image_is_in_one_part(cats: int, wanted: tuple[int, ...]) -> None:
    given = samples(Path("/a"), cats, 100)
    found = split(given)
    assert tuple(Counter(label for _, label in part)[0] for part in found) == wanted
    assert tuple(Counter(label for _, label in part)[1] for part in found) == (72, 8, 20)
    assert sorted(sample for part in found for sample in part) == given
    assert all(part == sorted(part) for part in found)


def test_it_depends_on_names_and_the_seed_alone() -> None:
    here, there = samples(Path("/a"), 30, 40), samples(Path("/b/c"), 30, 40)
    shuffled = random.Random(0).sample(here, len(here))
    found = [names(part) for part in split(here)]
    assert [names(part) for part in split(shuffled)] == found
    assert [names(part, Path("/b/c")) for part in split(there, Path("/b/c"))] == found
    assert names(split(here, seed=1).test) != found[2]
    assert sorted(found[2])[:6] == [f"cat/{i:03d}.png" for i in (7, 9, 13, 16, 23, 25)]  # on every machine


def test_names_may_be_composed_or_not() -> None:
    made = [
        [(Path("/a/cat") / unicodedata.normalize(form, f"é{i}.png"), 0) for i in range(20)] for form in ("NFC", "NFD")
    ]
    rest = samples(Path("/a"), 0, 9)
    found = [{unicodedata.normalize("NFC", name) for name in names(split(each + rest).test)} for each in made]
    assert found[0] == found[1]


def test_a_folder_that_grows_keeps_most_of_its_test_images() -> None:
    before, after = split(samples(Path("/a"), 100, 100)), split(samples(Path("/a"), 110, 100))
    assert len(names(before.test) & names(after.train)) <= 2


def test_without_validation_two_images_are_enough() -> None:
    assert tuple(map(len, split(samples(Path("/a"), 2, 10), val=0))) == (9, 0, 3)


@pytest.mark.parametrize(
    ("cats", "dogs", "val", "message"),
    [
        (2, 9, 0.1, r"class cat has 2 images, and is split into training, validation and test; it needs 3 or more$"),
        (1, 2, 0.1, r"class cat has 1 image, .* it needs 3 or more; 1 more classes have too few$"),
        (1, 9, 0, r"class cat has 1 image, and is split into training and test; it needs 2 or more$"),
        (0, 9, 0, r"no image in class folder /a/cat$"),
    ],
)
def test_too_few_images(cats: int, dogs: int, val: float, message: str) -> None:
    with pytest.raises(UserError, match=rf"^data\.data_dir=/a: {message}"):
        split(samples(Path("/a"), cats, dogs), val=val)
