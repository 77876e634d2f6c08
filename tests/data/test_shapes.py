"""The drawn shapes: they follow from their seed, and are augmented as they are trained with."""

from typing import Any

import pytest
import torch
from tests.data.builders import module_of
from torch import Tensor

from shiftaddaug.errors import UserError

FEW = {"train_images": 20, "test_images": 6, "image_size": [24, 32], "batch_size": 4}


def shapes(**keys: Any) -> Any:
    data = module_of("shapes", **FEW | keys)
    data.setup()
    return data


def stored(part: Any) -> tuple[Tensor, Tensor]:
    return part.samples.images, part.samples.masks


def test_they_follow_from_their_seed() -> None:
    first, again, other, run = shapes(), shapes(), shapes(draw_seed=1), shapes(seed=1)
    for part in ("train_set", "val_set", "test_set"):
        images, masks = stored(getattr(first, part))
        assert images.shape == (len(masks), 3, 24, 32) and masks.shape == (len(masks), 24, 32)
        for same in (again, run):
            assert torch.equal(images, stored(getattr(same, part))[0])
            assert torch.equal(masks, stored(getattr(same, part))[1])
        assert not torch.equal(masks, stored(getattr(other, part))[1])
    assert [len(part) for part in (first.train_set, first.val_set, first.test_set)] == [18, 2, 6]
    assert stored(first.train_set)[1].unique().tolist() == [0, 1, 2, 3]


def test_colours_say_nothing_of_the_class() -> None:
    """The mean colour of a class is that of every other, about."""
    images, masks = stored(shapes(train_images=150).train_set)
    means = torch.stack([images.movedim(1, -1)[masks == label].float().mean(0) for label in range(4)])
    assert (means.amax(0) - means.amin(0)).max() < 30


def test_batches_are_what_a_network_is_fed() -> None:
    data = shapes()
    images, masks = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert images.shape == (4, 3, 24, 32) and images.dtype == torch.float32
    assert masks.shape == (4, 24, 32) and masks.dtype == torch.int64
    assert abs(float(images.mean())) < 0.6 and 0.4 < float(images.std()) < 1.4
    first, second = (list(data.val_dataloader()) for _ in range(2))
    assert torch.equal(first[0][0], second[0][0])


def test_an_epochs_images_follow_from_seed_and_epoch() -> None:
    def masks(epoch: int, **keys: Any) -> Tensor:
        loader = shapes(scale=[0.5, 2.0], **keys).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return torch.cat([wanted for _, wanted in loader])

    assert torch.equal(masks(1), masks(1))
    assert not torch.equal(masks(1), masks(2)) and not torch.equal(masks(1), masks(1, seed=1))


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"^data\.num_classes=5: shapes holds 4 classes$"):
        module_of("shapes", num_classes=5, class_names=None)
    with pytest.raises(UserError, match=r"^data\.val_fraction=0\.1: a split needs two images or more$"):
        shapes(train_images=1)
