"""The one way to a Lightning Trainer: what it says of its arguments becomes a line for people."""

import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.utils import instantiate
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.profilers import PassThroughProfiler
from torch.utils.data import DataLoader

from shiftaddaug.callbacks.order import in_order
from shiftaddaug.errors import UserError

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
PROFILE = "profile"
"""Name of a profiler's report, behind that of the stage: fit-profile.txt."""
NOISE = (
    "does not have many workers",
    "suggested max number of worker",  # as many as data=image_folder has, on a machine of two cores
    "exists and is not empty",
    "LeafSpec",
    "You requested to overfit but enabled",
    "smaller than the logging",  # metrics.csv has a row an epoch all the same
)
"""What warnings hold that are no news to anybody who left our settings as they are."""
LEAVES_OUT = "ddp_find_unused_parameters_true"
"""Strategy for weights that a step may leave out, as an augmented sub-network and a retired block do."""


def quieten_lightning() -> None:
    """Leave out what says nothing about this run: tips, absent devices, advice on loader workers."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NOISE:
        warnings.filterwarnings("ignore", f".*{message}.*")


@contextmanager
def interruptible(trainer: pl.Trainer, *how_to_go_on: str) -> Iterator[None]:
    """Turn Lightning's answer to Ctrl-C, which ends the process without a word, into one that the command answers.

    Args:
        trainer: that works inside.
        how_to_go_on: what the user is told.

    Raises:
        KeyboardInterrupt: Ctrl-C; its arguments are `how_to_go_on`.
    """
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt(*how_to_go_on) from None
        raise


def check_limits(
    config: Mapping[str, Any], data: pl.LightningDataModule, processes: int, splits: Iterable[str] = SPLITS
) -> None:
    """Check that a share of a split's batches, if it has any, is at least one of them.

    Lightning would say so when it gets there.

    Args:
        config: the `trainer` group.
        data: set up, and in no trainer's hands yet.
        processes: that share each split.
        splits: those that are going to be used.

    Raises:
        UserError: naming the limit.
    """
    for split in splits:
        key, share = f"limit_{split}_batches", config.get(f"limit_{split}_batches")
        if split != "test" and config.get("overfit_batches"):
            key, share = "overfit_batches", config["overfit_batches"]
        if isinstance(share, float) and share < 1:
            batches = math.ceil(len(getattr(data, f"{split}_dataloader")()) / processes)
            if batches and int(share * batches) == 0:
                raise UserError(f"trainer.{key}={share}: is less than one of the {batches} batches")


def check_interval(config: Mapping[str, Any], data: pl.LightningDataModule, processes: int) -> None:
    """Check that an epoch is as long as the interval between two validations, if that is a number of batches.

    Lightning would say so when it gets there. Arguments are as in `check_limits`.

    Raises:
        UserError: it is not.
    """
    interval = config.get("val_check_interval")
    if not isinstance(interval, int) or config.get("check_val_every_n_epoch", 1) is None or config.get("fast_dev_run"):
        return
    batches, limit = math.ceil(len(data.train_dataloader()) / processes), config.get("limit_train_batches")
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(limit * batches)
    if interval > batches:
        raise UserError(
            f"trainer.val_check_interval={interval}: an epoch has {batches} batches; options: fewer, or "
            f"+trainer.check_val_every_n_epoch=null, which counts batches across epochs"
        )


def warn_of_global_draws(data: pl.LightningDataModule, name: str) -> None:
    """Warn of a training loader that draws from torch's global generator whenever it is opened.

    A resumed run opens its loaders at other moments, so that what is drawn after it differs.
    """
    loader = data.train_dataloader()
    if isinstance(loader, DataLoader) and loader.generator is None:
        log.warning(
            "data=%s: its training loader draws from the global generator, and a resumed run will not repeat an "
            "uninterrupted one; give it a generator of its own: DataLoader(..., generator=torch.Generator())",
            name,
        )


DEVICES = {
    "gpu": (CUDAAccelerator, MPSAccelerator),
    "cuda": (CUDAAccelerator,),
    "mps": (MPSAccelerator,),
    "tpu": (XLAAccelerator,),
}
"""What Lightning computes with by the value of trainer.accelerator."""


def check_accelerator(config: Mapping[str, Any]) -> None:
    """Refuse an accelerator that this machine does not have, before anything is built or read.

    Args:
        config: the `trainer` group.

    Raises:
        UserError: it has none.
    """
    wanted = str(config.get("accelerator"))
    if wanted in DEVICES and not any(each.is_available() for each in DEVICES[wanted]):
        raise UserError(
            f"trainer.accelerator={wanted}: torch {torch.__version__} finds none on this machine; options: auto, which "
            f"takes what there is, or cpu"
        )


def build_trainer(config: Mapping[str, Any], callbacks: Iterable[pl.Callback] = (), **options: Any) -> pl.Trainer:
    """Return the Trainer of the `trainer` group.

    Args:
        config: the group.
        callbacks: in any order. A progress bar is left out if bars are off: Lightning refuses it then.
        options: what replaces values of `config`.

    Raises:
        UserError: an argument that it refuses, an accelerator that is not there among them.
    """
    bars = options.get("enable_progress_bar", config.get("enable_progress_bar", True))
    placed = [callback for callback in in_order(callbacks) if bars or not isinstance(callback, ProgressBar)]
    try:
        if config.get("strategy") == "ddp":
            options["strategy"] = LEAVES_OUT
        options["_convert_"] = "all"  # a duration may be a group of keys, which Lightning takes as a dict alone
        trainer: pl.Trainer = instantiate(config, callbacks=placed, **options)
        if trainer.world_size > 1 and config.get("strategy", "auto") == "auto":  # Lightning chooses plain ddp
            trainer = instantiate(config, callbacks=placed, **{**options, "strategy": LEAVES_OUT})
    except Exception as error:  # Hydra wraps what the Trainer says
        raise UserError(f"trainer: {' '.join(str(error.__cause__ or error).split())}") from error
    _profile_into_a_file(trainer)
    return trainer


def _profile_into_a_file(trainer: pl.Trainer) -> None:
    """Have a profiler that was given no file write into the trainer's folder: its report would go to a silent log."""
    profiler: Any = trainer.profiler  # type: ignore[attr-defined]
    if not isinstance(profiler, PassThroughProfiler) and getattr(profiler, "filename", "") is None:
        profiler.dirpath, profiler.filename = profiler.dirpath or trainer.default_root_dir, PROFILE


def say_profile(trainer: pl.Trainer) -> None:
    """Log where the reports of a profiler lie, if there are any."""
    profiler: Any = trainer.profiler  # type: ignore[attr-defined]
    folder, name = getattr(profiler, "dirpath", None), getattr(profiler, "filename", None)
    if trainer.is_global_zero and folder is not None and name is not None:
        for path in sorted(Path(folder).glob(f"*{name}*")):
            log.info("trainer.profiler: wrote %s", path)
