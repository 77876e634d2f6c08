"""Images and masks are augmented together: images whose levels say the label show it."""

from typing import Any

import pytest
import torch
from tests.data.builders import module_of
from torch import Tensor

from shiftaddaug.data.joint import EvaluationTransform, TrainingTransform, fitting
from shiftaddaug.data.mask_settings import MaskSettings

LEVELS = 60
"""Grey levels from one label to the next; the fill is 153, none of them."""


def settings(**keys: Any) -> MaskSettings:
    made: MaskSettings = module_of("shapes", **{"mean": [0.6] * 3, "horizontal_flip": False} | keys).settings
    return made


def blocks(height: int = 24, width: int = 48, side: int = 12) -> tuple[Tensor, Tensor]:
    """A chequerboard of labels 0 to 3, none beside itself, and an image of their levels."""
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    mask = ((rows[:, None] * 2 + columns) % 4).byte()
    return (LEVELS * mask)[None].repeat(3, 1, 1), mask


def check_together(image: Tensor, mask: Tensor, least: float = 1.0) -> None:
    """At least a share of the pixels agree; what was filled is not learned."""
    assert image.dtype == mask.dtype == torch.uint8 and type(image) is type(mask) is Tensor
    level = torch.where(mask == 255, 153, LEVELS * mask.int())
    assert (image.int() == level).all(0).float().mean() >= least


class TestTraining:
    def test_crops_and_mirrors_are_the_same_for_both(self) -> None:
        transform = TrainingTransform(settings(image_size=[18, 30], eval_size=[24, 48], horizontal_flip=True))
        torch.manual_seed(0)
        seen = [transform(*blocks()) for _ in range(20)]
        for image, mask in seen:
            assert image.shape == (3, 18, 30) and mask.shape == (18, 30)
            check_together(image, mask)
        assert len({tuple(mask.flatten().tolist()) for _, mask in seen}) > 15

    def test_what_a_crop_has_beyond_the_image_is_not_learned(self) -> None:
        torch.manual_seed(0)
        image, mask = TrainingTransform(settings(image_size=[40, 40], eval_size=[24, 48]))(*blocks())
        check_together(image, mask)
        assert 0.2 < (mask == 255).float().mean() < 0.8

    @pytest.mark.parametrize("scale", [0.5, 1.7])
    def test_a_scale_is_that_of_both(self, scale: float) -> None:
        image, mask = TrainingTransform(settings(image_size=[24, 48], scale=[scale, scale]))(*blocks())
        check_together(image, mask, 0.6)
        assert ((mask == 255).float().mean().item() > 0.7) == (scale < 1)

    def test_scales_are_drawn(self) -> None:
        transform = TrainingTransform(settings(image_size=[24, 48], scale=[0.5, 1.0]))
        torch.manual_seed(0)
        free = torch.tensor([(transform(*blocks())[1] == 255).float().mean() for _ in range(40)])
        assert free.min() < 0.2 and 0.5 < free.max() <= 0.75

    def test_colours_are_of_images_alone(self) -> None:
        keys: dict[str, Any] = {"image_size": [24, 48]}
        plain = TrainingTransform(settings(**keys))(*blocks())
        for jitter in ("brightness", "contrast", "saturation", "hue"):
            torch.manual_seed(1)
            red = blocks()[0] * torch.tensor([1, 0, 0], dtype=torch.uint8).view(3, 1, 1)
            image, mask = TrainingTransform(settings(**keys, **{jitter: 0.4}))(red, blocks()[1])
            assert torch.equal(mask, plain[1]) and not torch.equal(image, red)

    def test_what_is_off_draws_nothing(self) -> None:
        torch.manual_seed(3)
        state = torch.get_rng_state()
        image, mask = TrainingTransform(settings(image_size=[24, 48]))(*blocks())
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(image, blocks()[0]) and torch.equal(mask, blocks()[1])


class TestEvaluation:
    def test_an_image_is_fitted_and_the_rest_not_judged(self) -> None:
        image, mask = EvaluationTransform(settings(image_size=[20, 24]))(*blocks())
        assert mask.shape == (20, 24)
        assert (mask == 255).all(1).tolist() == [True] * 4 + [False] * 12 + [True] * 4
        check_together(image, mask, 0.6)

    def test_an_image_that_fits_is_left_as_it_is(self) -> None:
        image, mask = EvaluationTransform(settings(image_size=8, eval_size=[24, 48]))(*blocks())
        assert torch.equal(image, blocks()[0]) and torch.equal(mask, blocks()[1])

    def test_proportions_are_kept(self) -> None:
        assert fitting((24, 48), (48, 48)) == (24, 48)
        assert fitting((24, 48), (12, 48)) == (12, 24)
        assert fitting((720, 960), (180, 240), 1.5) == (270, 360)
        assert fitting((3, 400), (20, 20)) == (1, 20)
