"""The digits: all of scikit-learn's, split once and for all."""

import pytest
import torch
from sklearn.datasets import load_digits
from tests.data.builders import module_of

from shiftaddaug.data import digits
from shiftaddaug.data.digits import DigitsDataModule


def ready(**options: object) -> DigitsDataModule:
    data: DigitsDataModule = module_of("digits", **options)
    data.setup()
    return data


@pytest.mark.parametrize("found", [True, False])
def test_what_is_read_is_scikit_learns(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not found:
        monkeypatch.setattr(digits, "find_spec", lambda name: None)
    pixels, labels = load_digits(return_X_y=True)
    ours = digits.read_digits()
    assert torch.equal(ours[0], torch.from_numpy(pixels))
    assert torch.equal(ours[1], torch.from_numpy(labels))


def test_sizes_and_classes() -> None:
    data = ready()
    sizes = [len(part) for part in (data.train_set, data.val_set, data.test_set)]
    assert sum(sizes) == 1797
    assert abs(sizes[2] - 0.2 * 1797) < 5
    assert abs(sizes[1] - 0.1 * 0.8 * 1797) < 5
    for part in (data.train_set, data.val_set, data.test_set):
        assert torch.bincount(part.labels).min() > 0.08 * len(part)
    assert (data.num_classes, data.settings.in_channels, data.settings.size) == (10, 1, (32, 32))


def test_images_are_stored_at_the_size_the_network_gets() -> None:
    data = ready(image_size=16)
    assert data.train_set.images.shape[1:] == (1, 16, 16)
    assert data.train_set.images.dtype == torch.uint8
    assert data.transform(data.train_set.images[:5], train=True).shape == (5, 1, 16, 16)


def test_grey_levels_are_scaled_to_bytes() -> None:
    data = ready(image_size=8)
    levels = data.train_set.images.unique().tolist()
    assert levels == [round(level * 255 / 16) for level in range(17)]


def test_splits_are_disjoint_and_do_not_follow_the_run() -> None:
    def rows(part: object) -> list[tuple[int, ...]]:
        return [tuple(image.flatten().tolist()) for image in part.images]  # type: ignore[attr-defined]

    first, second = ready(image_size=8, seed=0), ready(image_size=8, seed=5)
    assert rows(first.test_set) == rows(second.test_set)
    assert rows(first.val_set) == rows(second.val_set)
    everything = [row for part in (first.train_set, first.val_set, first.test_set) for row in rows(part)]
    assert len(set(everything)) == 1797
    assert rows(ready(image_size=8, split_seed=1).test_set) != rows(first.test_set)


def test_published_mean_and_deviation_normalise() -> None:
    data = ready()
    images = data.transform(data.train_set.images, train=False)
    assert abs(float(images.mean())) < 0.01
    assert abs(float(images.std()) - 1) < 0.01
