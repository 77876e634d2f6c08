"""Pictures of what is predicted: for W&B as masks over images, never at a run's cost."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.plugins import Precision
from torch import Tensor

from shiftaddaug import tasks
from shiftaddaug.callbacks.predictions import ShowPredictions, shared_out

NAMES = ["sky", "road"]


class Recording(WandbLogger):
    """What is handed to W&B, kept."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        self.given.append({"key": key, "images": images, "step": step, **kwargs})


def trainer_with(*loggers: Any) -> Any:
    settings = SimpleNamespace(mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    return SimpleNamespace(
        is_global_zero=True,
        sanity_checking=False,
        global_step=7,
        num_val_batches=[2],
        num_test_batches=[1],
        loggers=loggers,
        datamodule=SimpleNamespace(settings=settings),
        precision_plugin=Precision(),
    )


class Little(torch.nn.Module):
    """A module that says road where an image is bright."""

    def __init__(self) -> None:
        super().__init__()
        config = {"name": "segmentation", "headline": "miou", "better": "max", "class_names": NAMES}
        self.objective = tasks.build(config, 2)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(images[:, 0]), images[:, 0]], 1)


def make_batch() -> tuple[Tensor, Tensor]:
    levels = torch.tensor([[51, 204], [102, 255]]).expand(4, 3, 2, 2) / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
    return (levels - mean) / std, torch.tensor([[0, 1], [255, 1]]).expand(4, 2, 2)


def test_of_masks_over_images(tmp_path: Path) -> None:
    import wandb

    logger, callback = Recording(), ShowPredictions(str(tmp_path), images=3)
    module: Any = Little()
    for number in range(2):
        callback.on_validation_batch_end(trainer_with(logger), module, None, make_batch(), number)
    callback.on_validation_end(trainer_with(logger), module)
    (given,) = logger.given
    assert (given["key"], given["step"], len(given["images"])) == ("predictions", 7, 3)
    assert given["images"][0][..., 0].tolist() == [[51, 204], [102, 255]]
    labels = {0: "sky", 1: "road", 255: "not labelled"}
    masks = given["masks"][0]
    assert masks["wanted"]["mask_data"].tolist() == [[0, 1], [255, 1]]
    assert masks["predicted"]["mask_data"].tolist() == [[0, 1], [0, 1]]
    assert masks["wanted"]["class_labels"] == masks["predicted"]["class_labels"] == labels
    wandb.Image(given["images"][0], masks=masks)  # which checks them
    with np.load(tmp_path / "predictions.npz") as held:
        assert held["predicted"][0].transpose(1, 2, 0).tolist() == [[[0, 0, 0], [128, 0, 0]]] * 2


def test_test_images_are_shown_where_nothing_is_validated(tmp_path: Path) -> None:
    callback, module = ShowPredictions(str(tmp_path)), Little()
    callback.on_test_batch_end(trainer_with(), module, None, make_batch(), 0)
    callback.on_test_end(trainer_with(), module)
    assert (tmp_path / "predictions.npz").exists()
    (tmp_path / "predictions.npz").unlink()
    callback.on_test_batch_end(trainer_with(), module, None, make_batch(), 0)
    callback.on_test_end(trainer_with(), module)
    assert not (tmp_path / "predictions.npz").exists()


def test_failing_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        callback = ShowPredictions(str(tmp_path / "file"))
        callback.on_validation_batch_end(trainer_with(), Little(), None, make_batch(), 1)
        callback.on_validation_end(trainer_with(), Little())
    (record,) = caplog.records
    assert record.getMessage().startswith("predictions could not be shown (")


def test_images_are_spread_over_the_batches() -> None:
    assert [shared_out(6, batch, [3]) for batch in range(3)] == [2, 2, 2]
    assert [shared_out(2, batch, 5) for batch in range(5)] == [0, 0, 1, 0, 1]
    assert [shared_out(6, batch, [float("inf")]) for batch in range(3)] == [6, 0, 0]
