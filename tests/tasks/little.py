"""A little supernet to train, its losses worked out by hand, and a trainer that says nothing."""

import warnings
from functools import partial
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from shiftaddaug import operators
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.tasks.classification.objective import Classification
from shiftaddaug.tasks.classification.settings import ClassificationSettings
from shiftaddaug.tasks.evaluation import Batch
from shiftaddaug.tasks.training import Training

TABLE: dict[str, Any] = {
    "name": "little",
    "divisor": 2,
    "stem": {"channels": 4},
    "stages": [{"block": "inverted_bottleneck", "channels": 4, "expand": 2, "depth": 2}],
    "head": {"channels": 8},
}
CLASSES, SIDE = 6, 8
LR, SMOOTHING = 0.5, 0.1


def classification(classes: int, **settings: Any) -> Classification:
    """The objective, with these keys of its yaml."""
    return Classification(ClassificationSettings(**{"headline": "top1", "better": "max", **settings}), classes)


def make_task(
    op: str = "mult",
    sharing: Sharing = PLAIN,
    extra_blocks: int = 0,
    settings: dict[str, Any] | None = None,
    **arguments: Any,
) -> Training:
    """A supernet of twice the width and three times the hidden width; stem and classifier multiply."""
    torch.manual_seed(0)
    plan = plan_net(TABLE, CLASSES, 1, SIDE)
    multiplied, widths, expands = ["stem", "classifier"], (1.0, 2.0), (1.0, 3.0)
    net = build_supernet(
        plan,
        assign(plan, operators.build(op), multiplied),
        widths,
        expands,
        2,
        extra_blocks=extra_blocks,
        sharing=sharing,
    )
    sgd = partial(torch.optim.SGD, lr=LR, weight_decay=0.01)
    return Training(net, classification(CLASSES, **(settings or {})), **{"optimizer": sgd, **arguments})


def widest(net: Supernet) -> SubnetSpec:
    return SubnetSpec(net.widening.max_channels(), augmented=True)


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **arguments,
        )


def loader(batches: list[Batch]) -> DataLoader[Any]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def fit(task: Training, batches: list[Batch], **arguments: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet_trainer(max_epochs=1, **arguments).fit(task, loader(batches))
