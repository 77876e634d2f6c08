"""Check that every key of a training configuration exists and has a value within its range. Imports no torch."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

from msgspec import Meta
from omegaconf import DictConfig, OmegaConf

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.commands.check_nodes import check_node
from shiftaddaug.data.settings import ClassificationSettings
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.settings import check_sharing
from shiftaddaug.nets.settings import check_aug, check_net
from shiftaddaug.settings import (
    CheckpointPath,
    NonNegativeNumber,
    PathName,
    PluginNames,
    PositiveInt,
    PositiveNumber,
    Seed,
    check,
    check_group,
    shown,
)
from shiftaddaug.tasks.settings import TaskSettings

GROUPS = ("op", "net", "aug", "data", "task", "optim", "callbacks", "sharing", "trainer", "logger", "paths")
"""Keys of the top level that hold keys."""

Limit = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0, le=1)]

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
_PARAMETERS = ("find_unused_parameters_false", "find_unused_parameters_true")
STRATEGIES = (
    *("auto", "ddp", "ddp_spawn", "ddp_fork", "ddp_notebook"),
    *(f"{ddp}_{unused}" for ddp in ("ddp", "ddp_spawn", "ddp_fork", "ddp_notebook") for unused in _PARAMETERS),
    *("fsdp", "fsdp_cpu_offload", "deepspeed", "deepspeed_stage_1", "deepspeed_stage_2", "deepspeed_stage_2_offload"),
    *("deepspeed_stage_3", "deepspeed_stage_3_offload", "deepspeed_stage_3_offload_nvme"),
    *("single_device", "single_tpu", "single_xla", "xla", "xla_debug"),
)
PRECISIONS = (
    *("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "bf16", "64"),
    *("transformer-engine", "transformer-engine-float16"),
)
"""What Lightning's Trainer knows, here because asking it imports torch."""

TRAINER: dict[str, Any] = {
    "max_epochs": PositiveInt,
    "accumulate_grad_batches": PositiveInt,
    "check_val_every_n_epoch": PositiveInt | None,
    "default_root_dir": str | None,
    "devices": PositiveInt | Literal[-1, "auto"] | list[int],
    "deterministic": bool | Literal["warn"] | None,
    "gradient_clip_val": NonNegativeNumber | None,
    "limit_train_batches": Limit | None,
    "limit_val_batches": Limit | None,
    "limit_test_batches": Limit | None,
    "log_every_n_steps": PositiveInt | None,
    "num_nodes": PositiveInt,
    "num_sanity_val_steps": Annotated[int, Meta(ge=-1)] | None,
    "overfit_batches": Limit,
    "strategy": Literal[STRATEGIES],
    "val_check_interval": PositiveInt | Annotated[float, Meta(gt=0, le=1)] | None,
}
"""Ranges that Lightning's signature does not say."""

OPTIMIZER: dict[str, Any] = {"lr": PositiveNumber, "weight_decay": NonNegativeNumber, "momentum": NonNegativeNumber}
"""Ranges that the signatures of optimisers do not say."""

IMAGES = get_type_hints(ClassificationSettings, include_extras=True)
"""Ranges of keys that data modules with a constructor of their own may not say."""

BEST = "best_checkpoint"
"""The callback whose file is deployed."""

INTERVALS = ("step", "epoch")
"""How often the learning rate moves."""

SEVERAL_NODES = ("MASTER_ADDR", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "GROUP_RANK", "LSB_JOBID")
"""Variables of the environment that say of other machines; without one of them a process would wait for them."""


@dataclass(frozen=True)
class RunSettings:
    """Keys of configs/train.yaml that are no group."""

    seed: Seed
    ckpt_path: CheckpointPath | None = None
    plugins: PluginNames = ()  # type: ignore[assignment]


@dataclass(frozen=True)
class PathsSettings:
    """Keys of configs/paths."""

    root_dir: PathName
    log_dir: PathName
    output_dir: PathName
    data_dir: PathName | None = None


@dataclass(frozen=True)
class OptimSettings:
    """Keys of configs/optim besides the optimiser and its schedule."""

    lr: PositiveNumber
    warmup_epochs: NonNegativeNumber = 0.0
    min_lr: NonNegativeNumber = 0.0


def check_groups(config: Mapping[str, Any], catalogue: Catalogue = PACKAGE_ONLY) -> None:
    """Check keys, types and ranges.

    Args:
        config: of a run, as plain containers, its interpolations resolved.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: the first mistake, by key.
    """
    check_group("", {key: value for key, value in config.items() if key not in GROUPS}, RunSettings)
    check_group("paths", config["paths"], PathsSettings)
    check_net(config["net"], catalogue)
    check_aug(config["aug"])
    check_sharing(config["sharing"])
    optim = config["optim"]
    check_group("optim", optim, OptimSettings, more=optim)  # check_optim knows which others a yaml reads itself
    check_trainer(config["trainer"])
    check_node("optim.optimizer", optim["optimizer"], OPTIMIZER)
    if isinstance(optim.get("scheduler"), Mapping):
        check_node("optim.scheduler", optim["scheduler"], more={"interval": Literal[INTERVALS]})  # type: ignore[valid-type]
    check_node("data", config["data"], IMAGES)
    for key in ("logger", "callbacks"):
        check(key, config.get(key), dict[str, Any] | None)
        check_node(key, config.get(key) or {})
    for name, callback in config["callbacks"].items():
        if callback and (not isinstance(callback, Mapping) or "_target_" not in callback):
            raise UserError(f"callbacks.{name}={shown(callback)}: must name a callback by `_target_`, or be null")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain containers, its interpolations resolved."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def check_monitors(callbacks: Mapping[str, Any], task: TaskSettings) -> None:
    """Refuse callbacks that watch what nobody measures on the validation split.

    Raises:
        UserError: the first one.
    """
    options = [f"val/{figure.name}" for figure in task.measured]
    for name, callback in callbacks.items():
        monitor = callback.get("monitor") if isinstance(callback, Mapping) else None
        if isinstance(monitor, str) and monitor not in options and (monitor.startswith("val/") or name == BEST):
            raise UserError(f"callbacks.{name}.monitor={monitor}: is not measured; options: {', '.join(options)}")


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Refuse what the Trainer does not take, or would wait on for ever.

    Raises:
        UserError: the first mistake.
    """
    numbers = re.fullmatch(r"-1|\d+(, ?\d+)*,?", str(trainer.get("devices")))  # Lightning reads "0,1", too
    check_node("trainer", trainer, TRAINER | ({"devices": object} if numbers and trainer["devices"] != 0 else {}))
    if "precision" in trainer and trainer["precision"] is not None:
        check("trainer.precision", str(trainer["precision"]), Literal[PRECISIONS])  # type: ignore[valid-type]
    check("trainer.accelerator", trainer.get("accelerator", "auto"), Literal[ACCELERATORS])  # type: ignore[valid-type]
    nodes = trainer.get("num_nodes", 1)
    if nodes > 1 and not any(name in os.environ for name in SEVERAL_NODES):
        raise UserError(
            f"trainer.num_nodes={nodes}: would wait for other machines, of which the environment says nothing "
            f"({', '.join(SEVERAL_NODES[:3])}); options: 1, or a launcher that starts a process on each"
        )
    if trainer.get("max_steps", -1) != -1:
        raise UserError(f"trainer.max_steps={trainer['max_steps']}: schedules go by epochs; set trainer.max_epochs")
    for split in ("train", "val", "test"):
        limit = trainer.get(f"limit_{split}_batches")
        if limit is not None:
            check(f"trainer.limit_{split}_batches", limit, PositiveNumber)
