"""Which batch-norm statistics a run validates and deploys, by its length; and a warning of epochs of few steps."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
from torch import nn

from shiftaddaug.callbacks.recalibrate import RecalibrateBatchNorm
from shiftaddaug.nets.recalibrate import NORMS

log = logging.getLogger(__name__)

RUNNING, RECALIBRATED = "running", "recalibrated"

FEW_STEPS = 10
"""Optimiser steps that an epoch should have at least: rates, averages and the choice of the best epoch go by epochs."""

LAGGING_SHARE = 0.01
"""Share of running statistics that may be what they began with when a run ends."""


@dataclass(frozen=True)
class Length:
    """Length of a run in optimiser steps."""

    images: int | None
    """Images that an epoch trains; None: not known."""
    whole_epoch: int
    """Steps of an epoch without limits of the `trainer` group."""
    epoch: int
    """Steps of an epoch."""
    total: int
    """Steps of all epochs."""


def length_of(trainer: Mapping[str, Any], data: pl.LightningDataModule, processes: int) -> Length | None:
    """Return how long a run is; None where the data do not say how many batches they have.

    Args:
        trainer: the `trainer` group.
        data: set up, and in no trainer's hands yet.
        processes: that share an epoch.
    """
    loader = data.train_dataloader()
    try:
        batches = whole = math.ceil(len(loader) / processes)
    except (TypeError, NotImplementedError):  # of a stream
        return None
    epochs, accumulated = trainer["max_epochs"], trainer.get("accumulate_grad_batches", 1)
    limits = [trainer.get("overfit_batches") or None, trainer.get("limit_train_batches")]
    if trainer.get("fast_dev_run"):
        limits, epochs = [int(trainer["fast_dev_run"])], 1
    for limit in limits:
        if limit is not None:
            batches = min(batches, limit) if isinstance(limit, int) else int(limit * batches)
    images: Any = getattr(loader, "dataset", None)
    count = len(images) if hasattr(images, "__len__") else None
    steps = math.ceil(batches / accumulated)
    return Length(count, math.ceil(whole / accumulated), steps, steps * epochs)


def choose_statistics(
    config: Mapping[str, Any],
    data: pl.LightningDataModule,
    processes: int,
    callbacks: Mapping[str, pl.Callback],
    net: nn.Module,
    *,
    validated: bool,
) -> str:
    """Let the length of the run choose batch-norm's statistics, and say so; warn of few steps, and of what lags.

    Args:
        config: of the run, as plain containers.
        data: set up, and in no trainer's hands yet.
        processes: that train.
        callbacks: of the configuration, by their names.
        net: that is trained.
        validated: whether there are images to validate on.

    Returns:
        `running` or `recalibrated`.
    """
    found = [callback for callback in callbacks.values() if isinstance(callback, RecalibrateBatchNorm)]
    length = length_of(config["trainer"], data, processes)
    if length is not None:
        _warn_of_few_steps(config, length, processes)
    for callback in found:
        if callback.chooses:
            _choose(callback, length, averaged="ema" in callbacks and not validated)
    if any(callback.measures for callback in found):
        return RECALIBRATED
    if length is not None:
        _warn_of_lag(length, net)
    return RUNNING


def _choose(callback: RecalibrateBatchNorm, length: Length | None, averaged: bool) -> None:
    if averaged or length is None:
        callback.measures = False
        why = (
            "averaged weights (callbacks=ema) would be measured when they are validated, and nothing is"
            if averaged
            else "the data do not say how long an epoch is"
        )
    else:
        why = callback.decide(length.epoch, length.total)
    log.info("bn=auto: %s statistics, for %s", RECALIBRATED if callback.measures else RUNNING, why)


def _warn_of_few_steps(config: Mapping[str, Any], length: Length, processes: int) -> None:
    """Warn of batches that are too large for the images; whoever limits an epoch's batches knows that they are few."""
    trainer, data = config["trainer"], config["data"]
    tried = trainer.get("fast_dev_run") or trainer.get("overfit_batches")
    batch = data.get("batch_size")
    if length.whole_epoch >= FEW_STEPS or tried or not isinstance(batch, int) or length.images is None:
        return
    accumulated = trainer.get("accumulate_grad_batches", 1)
    fitting = length.images // (FEW_STEPS * processes * accumulated)
    options = [f"data.batch_size={fitting}, of which an epoch has {FEW_STEPS}"] if fitting > 1 else []
    if accumulated > 1:
        options.append("trainer.accumulate_grad_batches=1")
    if "min_epoch_batches" in data:
        wanted = FEW_STEPS * accumulated
        options.append(f"data.min_epoch_batches={wanted}, which passes several times over them")
    if not options:
        options.append("more images")
    log.warning(
        "data.batch_size=%d: %d training images make %d optimiser step%s an epoch, %d in all, and a net learns little"
        " in so few; options: %s",
        *(batch, length.images, length.whole_epoch, "s" if length.whole_epoch != 1 else "", length.total),
        "; ".join(options),
    )


def _warn_of_lag(length: Length, net: nn.Module) -> None:
    """Warn of running statistics that mostly are what they began with."""
    momenta = [norm.momentum for norm in net.modules() if isinstance(norm, NORMS)]
    known = [momentum for momentum in momenta if momentum is not None]  # None: they are means over all steps
    if not known:
        return
    slowest = min(known)
    share = (1 - slowest) ** length.total
    if share > LAGGING_SHARE:
        log.warning(
            "bn=running: after %d optimiser steps %.0f %% of batch-norm's running statistics (momentum %g) are still"
            " what they began with, and the target is tested with them; bn=recalibrated measures them",
            *(length.total, 100 * share, slowest),
        )
