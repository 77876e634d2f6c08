"""What tells early that a net of add layers will not train: features of low rank, steps too small or too large."""

import csv
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.settings import PositiveInt, Share, checked

log = logging.getLogger(__name__)

FIELDS = ("epoch", "step", "name", "effective_rank", "max_rank", "relative_update")


def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of the normalised squared singular values (Roy & Vetterli, 2007).

    Args:
        features: (samples, channels); the mean of each channel is removed.

    Returns:
        Between 1 (all channels say the same) and min(samples, channels); 0 for features that do not vary, NaN for
        such that are no numbers.
    """
    if not torch.isfinite(features).all():
        return math.nan
    centred = features.double() - features.double().mean(0)
    # squared singular values, from a matrix as small as the channels are few
    energy = torch.linalg.eigvalsh(centred.T @ centred).clamp_min(0)
    if energy.sum() == 0:
        return 0.0
    shares = energy / energy.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


@torch.no_grad()
def block_ranks(net: Supernet, images: Tensor, target: SubnetSpec | None = None) -> dict[str, tuple[float, int]]:
    """Effective rank of the target's features after each block, pixels being the samples, and the most it can be.

    Norms use the batch's statistics, and no running statistics change.

    Args:
        net: the supernet.
        images: (N, C, H, W).
        target: as it is at this moment; the final one by default.
    """
    last = {unit: nodes[-1].name for unit, nodes in net.plan.units().items()}
    values = net.values(images, last.values(), net.run(replace(target or net.target_spec, augmented=True)))
    features = {unit: values[node].movedim(1, -1).flatten(0, -2) for unit, node in last.items()}
    return {unit: (effective_rank(pixels), min(pixels.shape)) for unit, pixels in features.items()}


class Diagnostics(pl.Callback):
    """Write the effective rank of each block's features and the relative size of each layer's step, once an epoch.

    At the first step of the run, and of every epoch, to `diagnostics.csv`; the last block's rank and the median step
    to the loggers. A rank below `least_rank_share` of what it can be (as many as there are channels, or pixels of the
    images) at the first step is warned of: the channels say the same, and the net will stay at chance. Nets that learn
    have half of it and more.

    Args:
        folder: of the csv.
        least_rank_share: of the last block's.
        images: of the batch that are looked at.
    """

    stage = Stage.DIAGNOSE
    only_watches = True

    @checked("callbacks.diagnostics")
    def __init__(self, folder: str, least_rank_share: Share = 0.2, images: PositiveInt = 64) -> None:
        self.path, self.least_rank_share, self.images = Path(folder) / "diagnostics.csv", least_rank_share, images
        self.before: dict[str, Tensor] = {}
        self.step_before = 0
        self.ranks: dict[str, tuple[float, int]] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx:
            return
        with trainer.precision_plugin.forward_context():  # callbacks run outside of it, training within
            self.ranks = block_ranks(pl_module.net, batch[0][: self.images].to(pl_module.dtype), pl_module.target_spec)
        self.before, self.step_before = _target_weights(pl_module.net), trainer.global_step
        name, (rank, max_rank) = list(self.ranks.items())[-1]
        self._log(pl_module, "effective_rank", rank, len(batch[0]))
        if trainer.global_step == 0 and rank < self.least_rank_share * max_rank:
            log.warning(
                "the features of %s have an effective rank of %.1f out of %d: channels say nearly the same, and the "
                "net may stay at chance; with op=add, try a larger op.init_std (and op.eta with it) or, with "
                "sharing=heterogeneous, a larger op.remap.laplace_scale",
                *(name, rank, max_rank),
            )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self.before or trainer.global_step == self.step_before:  # the gradient is still accumulated
            return
        after = _target_weights(pl_module.net)
        steps = {name: _relative(after[name] - weight, weight) for name, weight in self.before.items()}
        self.before = {}
        median = float(torch.tensor(list(steps.values())).median())
        self._log(pl_module, "relative_update", median, len(batch[0]))
        if trainer.is_global_zero:
            self._write(trainer, steps)

    @staticmethod
    def _log(task: pl.LightningModule, name: str, value: float, batch_size: int) -> None:
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": batch_size, "sync_dist": True}
        task.log(f"diagnostics/{name}", value, **options)

    def _write(self, trainer: pl.Trainer, steps: dict[str, float]) -> None:
        place = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        rows: list[dict[str, Any]] = [
            place | {"name": name, "effective_rank": round(rank, 2), "max_rank": max_rank}
            for name, (rank, max_rank) in self.ranks.items()
        ]
        rows += [place | {"name": name, "relative_update": f"{step:.3g}"} for name, step in steps.items()]
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerows(rows)


def _target_weights(net: Supernet) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.detach().clone()
        for name, layer in net.hybrid_layers().items()
        for key, value in layer.target_parameters().items()
    }


def _relative(change: Tensor, weight: Tensor) -> float:
    norm = float(weight.norm())
    return float(change.norm()) / norm if norm else 0.0
