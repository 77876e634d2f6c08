"""The batched image operations against one image at a time, and their values."""

import pytest
import torch
from torch import Tensor

from shiftaddaug.data import augment


def images_of(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def naive_crop_flip(image: Tensor, padding: int, top: int, left: int, mirror: bool) -> Tensor:
    height, width = image.shape[1:]
    out = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            y, x = row + top - padding, column + left - padding
            if 0 <= y < height and 0 <= x < width:
                out[:, row, width - 1 - column if mirror else column] = image[:, y, x]
    return out


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("shape", [(9, 3, 8, 8), (4, 1, 5, 7)])
def test_crop_flip_is_the_naive_one_per_image(padding: int, shape: tuple[int, ...]) -> None:
    images = images_of(*shape)
    generator = torch.Generator().manual_seed(1)
    top, left = (torch.randint(2 * padding + 1, (shape[0],), generator=generator) for _ in range(2))
    mirror = torch.rand(shape[0], generator=generator) < 0.5
    expected = [naive_crop_flip(*case) for case in zip(images, [padding] * shape[0], top, left, mirror, strict=True)]
    assert augment.crop_flip(images, padding, top, left, mirror).equal(torch.stack(expected))


def test_random_crop_flip_draws_every_place_and_both_sides() -> None:
    image = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5)
    torch.manual_seed(0)
    seen = {tuple(crop.flatten().tolist()) for crop in augment.random_crop_flip(image.expand(500, -1, -1, -1), 1, True)}
    expected = {
        tuple(naive_crop_flip(image[0], 1, top, left, mirror).flatten().tolist())
        for top in range(3)
        for left in range(3)
        for mirror in (False, True)
    }
    assert seen == expected


def test_random_crop_flip_follows_the_global_seed() -> None:
    images = images_of(16, 3, 8, 8)
    torch.manual_seed(3)
    first = augment.random_crop_flip(images, 2, True)
    second = augment.random_crop_flip(images, 2, True)
    torch.manual_seed(3)
    assert augment.random_crop_flip(images, 2, True).equal(first)
    assert not second.equal(first)


def test_one_option_leaves_the_draws_of_the_other() -> None:
    images = images_of(32, 1, 8, 8)
    torch.manual_seed(3)
    both = augment.random_crop_flip(images, 2, True)
    torch.manual_seed(3)
    crop = augment.random_crop_flip(images, 2, False)
    mirrored = (both != crop).flatten(1).any(1)
    assert 0 < mirrored.sum() < 32
    assert both[mirrored].equal(crop[mirrored].flip(-1))
    torch.manual_seed(3)
    flip = augment.random_crop_flip(images, 0, True)
    assert (flip != images).flatten(1).any(1).equal(mirrored)


def test_no_crop_and_no_flip_leave_the_image() -> None:
    images = images_of(6, 3, 8, 8)
    assert augment.random_crop_flip(images, 0, False).equal(images)


def test_half_the_size_is_the_mean_of_two_by_two() -> None:
    image = torch.tensor([[0, 1, 10, 20], [2, 4, 30, 40], [255, 255, 0, 1], [255, 254, 1, 0]], dtype=torch.uint8)
    expected = torch.tensor([[2, 25], [255, 0]], dtype=torch.uint8)  # means 1.75, 25, 254.75 and 0.5 (to even)
    assert augment.resize_images(image.view(1, 1, 4, 4), 2).equal(expected.view(1, 1, 2, 2))


def test_resizing_in_chunks_is_resizing_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_RESIZE_CHUNK", 3)
    images = images_of(7, 3, 8, 8)
    for size in (4, 5, 16):
        one_by_one = torch.cat([augment.resize_images(image[None], size) for image in images])
        assert augment.resize_images(images, size).equal(one_by_one)
        assert one_by_one.shape == (7, 3, size, size)
        assert one_by_one.dtype == torch.uint8


def test_a_rectangle_of_whole_ratios_is_the_mean_of_rectangles() -> None:
    image = torch.tensor([[0, 4, 10, 20], [2, 4, 30, 40]], dtype=torch.uint8).view(1, 1, 2, 4)
    assert augment.resize_images(image, (2, 2)).equal(torch.tensor([[2, 15], [3, 35]], dtype=torch.uint8)[None, None])
    assert augment.resize_images(image, (1, 2)).equal(torch.tensor([[2, 25]], dtype=torch.uint8)[None, None])
    assert augment.resize_images(image, (2, 4)) is image
    assert augment.resize_images(image, (3, 5)).shape == (1, 1, 3, 5)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 11])
def test_resizing_keeps_a_flat_image_flat(size: int) -> None:
    flat = torch.full((2, 1, 8, 8), 201, dtype=torch.uint8)
    assert augment.resize_images(flat, size).equal(torch.full((2, 1, size, size), 201, dtype=torch.uint8))


def test_normalise_is_per_channel() -> None:
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    normal = augment.normalise(augment.to_unit(images), (0.5, 0.25, 0.2), (0.5, 0.25, 2.0))
    assert normal.dtype == torch.float32
    torch.testing.assert_close(normal.flatten(), torch.tensor([-1.0, 3.0, 0.0]))
