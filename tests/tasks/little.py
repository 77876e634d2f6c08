"""A little supernet to train, its losses worked out by hand, and a trainer that says nothing."""

import warnings
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.build import bottlenecks, make_supernet, plan_of
from torch import Tensor, nn
from torch.utils.data import DataLoader

from shiftaddaug.hybrid.sharing import PLAIN, NetSharing
from shiftaddaug.tasks.classification.objective import Classification
from shiftaddaug.tasks.classification.settings import ClassificationSettings
from shiftaddaug.tasks.evaluation import Batch
from shiftaddaug.tasks.training import Training

TABLE = bottlenecks()
CLASSES, SIDE = 6, 8
LR, SMOOTHING = 0.5, 0.1
NESTEROV = partial(torch.optim.SGD, lr=0.2, momentum=0.9, nesterov=True)


def classification(classes: int, **settings: Any) -> Classification:
    """The objective, with these keys of its yaml."""
    return Classification(ClassificationSettings(**{"headline": "top1", "better": "max", **settings}), classes)


def make_task(
    op: str = "mult",
    kept: Collection[str] = ("stem", "classifier"),
    table: Mapping[str, Any] = TABLE,
    width: float = 2.0,
    expand: float = 3.0,
    extra_blocks: int = 0,
    sharing: NetSharing = PLAIN,
    settings: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Training:
    """Training of a supernet of twice the width and three times the hidden width; `kept` layers multiply.

    Args:
        settings: keys of the objective's yaml.
        arguments: of `Training`.
    """
    net = make_supernet(
        plan_of(table, CLASSES, 1, SIDE),
        op,
        kept,
        width_multipliers=(1.0, width),
        expand_multipliers=(1.0, expand),
        divisor=2,
        extra_blocks=extra_blocks,
        sharing=sharing,
    )
    sgd = partial(torch.optim.SGD, lr=LR, weight_decay=0.01)
    return Training(net, classification(CLASSES, **(settings or {})), **{"optimizer": sgd, **arguments})


def make_batch(seed: int = 1, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 1, SIDE, SIDE, generator=generator), torch.randint(CLASSES, (size,), generator=generator)


def cross_entropy(logits: Tensor, wanted: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean of -sum p log q, p the labels mixed with the uniform distribution; in float64."""
    probabilities = nn.functional.one_hot(wanted, CLASSES) if wanted.ndim == 1 else wanted
    p = (1 - smoothing) * probabilities.double() + smoothing / CLASSES
    return -(p * logits.double().log_softmax(1)).sum(1).mean()


def record(task: Training, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the task logs, without a trainer."""
    logged: dict[str, Any] = {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: value}))
    return logged


def assert_loss(loss: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=0)


def quiet_trainer(**arguments: Any) -> pl.Trainer:
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Trainer(**{"accelerator": "cpu", **dict.fromkeys(silent, False), **arguments})


def loader(batches: list[Batch]) -> DataLoader[Any]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def fit(
    task: pl.LightningModule, batches: list[Any], validation: Any = None, resume: Path | None = None, **arguments: Any
) -> pl.Trainer:
    """Train on the batches, in their order, for one epoch unless a trainer's `arguments` say otherwise."""
    trainer = quiet_trainer(**{"max_epochs": 1, "num_sanity_val_steps": 0, **arguments})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(task, loader(batches), None if validation is None else loader(validation), ckpt_path=resume)
    return trainer
