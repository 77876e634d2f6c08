"""The first step of a run: build everything that it needs, in an order that meets mistakes before expensive work."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger, Logger

from shiftaddaug import tasks
from shiftaddaug.callbacks.build import build_callbacks
from shiftaddaug.callbacks.checkpoint import AtomicCheckpointIO
from shiftaddaug.callbacks.progress import Throughput
from shiftaddaug.callbacks.pruning import PruneTrial
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.kl import penalty_from_config
from shiftaddaug.hydra_nodes import build
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.build import assigned_operators, supernet_from_config
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.trial import try_operator
from shiftaddaug.report.guarded import GuardedLogger
from shiftaddaug.runs.checkpoints import find_checkpoint, read_checkpoint, refuse_other_run
from shiftaddaug.runs.idle import note_idle
from shiftaddaug.runs.init_from import begin_from
from shiftaddaug.runs.lightning_trainer import (
    SPLITS,
    build_trainer,
    check_accelerator,
    check_interval,
    check_limits,
    quieten_lightning,
    warn_of_global_draws,
)
from shiftaddaug.runs.longer import is_longer, lengthened_from
from shiftaddaug.runs.proofs import prove_before_training
from shiftaddaug.runs.resumed import refuse_unlike
from shiftaddaug.runs.searching import PRUNED, is_multirun, running_trial
from shiftaddaug.runs.settings import RunSettings
from shiftaddaug.runs.statistics import choose_statistics
from shiftaddaug.runs.trainer_settings import refuse_processes_of_jobs
from shiftaddaug.tasks.base import Objective
from shiftaddaug.tasks.optimizers import build_optim
from shiftaddaug.tasks.training import Training

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What the other steps work with. The network inside `task` is trained in place."""

    settings: RunSettings
    assignment: Assignment[Operator]
    task: Training
    data: pl.LightningDataModule
    trainer: pl.Trainer
    throughput: Throughput
    ckpt_path: Path | None
    """Checkpoint that the run resumes, or deploys."""
    lengthened_from: Sequence[int]
    """Epochs of the finished runs that it trains further."""
    callbacks: Mapping[str, pl.Callback]
    """The callbacks of the configuration, by their names."""
    loggers: Sequence[GuardedLogger]
    """The loggers of the configuration. metrics.csv, which is for what changes, is none of them: config.yaml and
    results.json lie beside it."""
    idle: Mapping[str, str]
    """Why callbacks have nothing to do, by their names."""
    statistics: str
    """Batch-norm statistics that are validated and deployed: running or recalibrated."""

    @property
    def resumable(self) -> Path | None:
        """Checkpoint from which the run would go on if it stopped now: its last one, or the one that it resumed."""
        last = self.settings.folder / "checkpoints" / "last.ckpt"
        return last if last.exists() else self.ckpt_path


MakeTraining = Callable[[RunSettings, Assignment[Operator], Objective], Training]
"""Makes what trains a network, of a run's settings, the operators of its layers, and its task's objective."""


def prepare(settings: RunSettings, training: MakeTraining | None = None) -> Prepared:
    """Seed the random generators, build everything, and read the data. Writes nothing but data that are downloaded.

    Args:
        settings: of the run.
        training: makes what trains; by default the target inside its supernet.

    Raises:
        UserError: a mistake that only shows when things are built.
    """
    quieten_lightning()
    config = settings.config
    check_accelerator(config["trainer"])
    pl.seed_everything(settings.top.seed, workers=True, verbose=False)
    assignment = assigned_operators(config, settings.plan, settings.catalogue)
    for operator in assignment.operators():
        try_operator(operator)
    objective = tasks.build(config["task"], settings.plan.num_classes, settings.catalogue)
    task = (training or _target_training)(settings, assignment, objective)
    prove_before_training(task.net)
    begin_from(task.net, settings.config, settings.catalogue, resumed=settings.top.ckpt_path is not None)
    resumed = _resumed_checkpoint(settings, task)
    data: pl.LightningDataModule = build("data", config["data"])
    settings.task.refuse_other_data(config["data"]["name"], getattr(data, "task", None))
    throughput = Throughput()
    callbacks = build_callbacks(config["callbacks"])
    callbacks |= _pruning(settings)
    loggers = _loggers(config.get("logger") or {})
    csv = CSVLogger(str(settings.folder), name="", version="")
    options = {"logger": [csv, *loggers], "plugins": [AtomicCheckpointIO()]}
    options |= {} if settings.validated else {"limit_val_batches": 0}
    trainer = build_trainer(config["trainer"], [*callbacks.values(), throughput], **options)
    if is_multirun():
        refuse_processes_of_jobs(trainer.world_size)
    if not settings.top.train and trainer.world_size > 1:
        raise UserError(
            f"train=false: deploys and tests in one process, not in {trainer.world_size}; options: trainer.devices=1"
        )
    _read_data(settings, data, trainer.world_size)
    statistics = choose_statistics(config, data, trainer.world_size, callbacks, task.net, validated=settings.validated)
    idle = note_idle(callbacks, trainer, task, settings.typed)
    # Lightning does so once a checkpoint has been read into it: float64 weights would come back rounded
    trainer.precision_plugin.convert_module(task)
    return Prepared(
        settings, assignment, task, data, trainer, throughput, *resumed, callbacks, loggers, idle, statistics
    )


def _pruning(settings: RunSettings) -> dict[str, pl.Callback]:
    """Return what stops this run, if it is a trial of a search that stops those behind."""
    trial = running_trial()
    return {} if trial is None else {"prune": PruneTrial(trial, f"val/{settings.task.headline}", PRUNED)}


def _loggers(nodes: Mapping[str, Any]) -> list[GuardedLogger]:
    made = {name: build(f"logger.{name}", node) for name, node in nodes.items() if node}
    for name, logger in made.items():
        if not isinstance(logger, Logger):
            raise UserError(f"logger.{name}: is a {type(logger).__name__}; must be a Lightning logger")
    return [GuardedLogger(f"logger.{name}", logger) for name, logger in made.items()]


def _target_training(settings: RunSettings, assignment: Assignment[Operator], objective: Objective) -> Training:
    config, aug = settings.config, settings.aug
    return Training(
        supernet_from_config(config, settings.plan, assignment),
        objective,
        aug_weight=aug.weight,
        distill_weight=aug.distill_weight,
        distill_temperature=aug.distill_temperature,
        weight_penalty=penalty_from_config(config["sharing"]),
        compile_backend=settings.task.compile,
        **training_options(settings),
    )


def training_options(settings: RunSettings) -> dict[str, Any]:
    """Return the arguments of `Training` that are those of every run."""
    optimizer, scheduler = build_optim(settings.optim, settings.config["trainer"]["max_epochs"])
    return {
        "optimizer": optimizer,
        "scheduler": scheduler,
        "config": dict(settings.config),
        "decay_norms": settings.optim.decay_norms,
        "encoder_lr_mult": settings.optim.encoder_lr_mult,
        "validated": settings.validated,
    }


def _resumed_checkpoint(settings: RunSettings, task: Training) -> tuple[Path | None, list[int]]:
    """Return the checkpoint that a run resumes, and the epochs of the finished runs that it trains further."""
    if settings.top.ckpt_path is None:
        return None, []
    trains = settings.top.train
    path = find_checkpoint(str(settings.top.ckpt_path), Path(settings.paths.log_dir), settings.trained, trains)
    checkpoint = read_checkpoint(path)
    refuse_other_run(path, checkpoint, settings.trained, settings.typed, trains)
    refuse_unlike(path, checkpoint, task, trains)
    if not trains:
        return path, []
    log.info("resuming %s", path)
    theirs = checkpoint["config"]
    if is_longer(path, theirs, settings.config):
        task.lengthened_from = theirs["trainer"]["max_epochs"]
    return path, lengthened_from(path, theirs, settings.config)


def _read_data(settings: RunSettings, data: pl.LightningDataModule, processes: int) -> None:
    data.prepare_data()
    data.setup("fit")
    warn_of_global_draws(data, settings.config["data"]["name"])
    check_limits(settings.config["trainer"], data, processes, SPLITS if settings.top.test else SPLITS[:2])
    if settings.validated:
        check_interval(settings.config["trainer"], data, processes)
