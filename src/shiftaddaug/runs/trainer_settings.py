"""What the `trainer` group may say: the keys of Lightning's Trainer, and their ranges. Imports no torch."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.hydra_nodes import check_node
from shiftaddaug.settings import Count, NonNegativeNumber, PositiveInt, PositiveNumber, check, shown

Limit = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0, le=1)]

Duration = Annotated[str, Meta(pattern=r"^\d+:\d+:\d+:\d+$", title="DD:HH:MM:SS, such as 00:01:30:00")]
PARTS = ("weeks", "days", "hours", "minutes", "seconds")
"""Keys of a duration that is given as a group, `{hours: 1}`."""

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
_PARAMETERS = ("find_unused_parameters_false", "find_unused_parameters_true")
STRATEGIES = (
    *("auto", "ddp", *(f"ddp_{unused}" for unused in _PARAMETERS)),
    *("fsdp", "fsdp_cpu_offload", "deepspeed", "deepspeed_stage_1", "deepspeed_stage_2", "deepspeed_stage_2_offload"),
    *("deepspeed_stage_3", "deepspeed_stage_3_offload", "deepspeed_stage_3_offload_nvme"),
    *("single_device", "single_tpu", "single_xla", "xla", "xla_debug"),
)
PRECISIONS = (
    *("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "bf16", "64"),
    *("transformer-engine", "transformer-engine-float16"),
)
"""What Lightning's Trainer knows, here because asking it imports torch."""

COPIES = ("ddp_spawn", "ddp_fork", "ddp_notebook")
"""Strategies that train in copies of this process, which keep to themselves what a run records."""

TRAINER: dict[str, Any] = {
    "max_epochs": PositiveInt,
    "max_time": Duration | None,
    "accumulate_grad_batches": PositiveInt,
    "check_val_every_n_epoch": PositiveInt | None,
    "default_root_dir": str | None,
    "devices": PositiveInt | Literal[-1, "auto"] | list[int],
    "deterministic": bool | Literal["warn"] | None,
    "barebones": Literal[False],
    "enable_checkpointing": Literal[True] | None,
    "gradient_clip_algorithm": Literal["norm", "value"] | None,
    "gradient_clip_val": NonNegativeNumber | None,
    "limit_train_batches": Limit | None,
    "limit_val_batches": Limit | None,
    "limit_test_batches": Limit | None,
    "limit_predict_batches": Limit | None,
    "log_every_n_steps": PositiveInt | None,
    "min_epochs": Count | None,
    "min_steps": Count | None,
    "num_nodes": PositiveInt,
    "num_sanity_val_steps": Annotated[int, Meta(ge=-1)] | None,
    "overfit_batches": Limit,
    "profiler": Literal["simple", "advanced", "pytorch", "xla"] | dict[str, Any] | None,
    "reload_dataloaders_every_n_epochs": Count,
    "strategy": Literal[STRATEGIES],
    "val_check_interval": PositiveInt | Annotated[float, Meta(gt=0, le=1)] | None,
}
"""Ranges that Lightning's signature does not say."""

SEVERAL_NODES = ("MASTER_ADDR", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "GROUP_RANK", "LSB_JOBID")
"""Variables of the environment that say of other machines; without one of them a process would wait for them."""


DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/accel0")
"""Files of accelerators that compute, and hold the weights in memory of their own."""


def trains_on_cpu(trainer: Mapping[str, Any]) -> bool:
    """Return whether the `trainer` group leaves the computing to the CPU."""
    accelerator = trainer.get("accelerator", "auto")
    return accelerator == "cpu" or (accelerator == "auto" and not any(Path(device).exists() for device in DEVICES))


def processes_of(trainer: Mapping[str, Any]) -> int | None:
    """Return how many processes of this machine train; None if that depends on the devices that it has."""
    devices = trainer.get("devices", "auto")
    if isinstance(devices, list):
        return len(devices)
    number = str(devices)
    return int(number) if number.isdigit() else None


def check_processes(trainer: Mapping[str, Any], multirun: bool) -> None:
    """Refuse more processes than there are cores to run them, and several of them in a multirun.

    Lightning itself refuses more accelerators than there are.

    Args:
        trainer: the group.
        multirun: whether the run is one of several jobs of this command.

    Raises:
        UserError: naming the number.
    """
    processes, cores = processes_of(trainer), os.cpu_count() or 1
    if processes is not None and processes > cores and trains_on_cpu(trainer):
        raise UserError(
            f"trainer.devices={shown(trainer['devices'])}: would start {processes} processes, and this machine has "
            f"{cores} cores; options: {cores} at most"
        )
    if multirun and processes is not None:
        refuse_processes_of_jobs(processes)


def refuse_processes_of_jobs(processes: int) -> None:
    """Refuse several processes for a job of a multirun: each of them would run all jobs.

    Raises:
        UserError: there are several.
    """
    if processes > 1:
        raise UserError(
            f"trainer.devices: a job of a multirun (-m) trains in one process, not in {processes}; options: 1, or a "
            "command for each job, as src/ablate.py starts them"
        )


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Refuse what the Trainer does not take, or would wait on for ever.

    Raises:
        UserError: the first mistake.
    """
    strategy = str(trainer.get("strategy"))
    if strategy.startswith(COPIES):
        raise UserError(
            f"trainer.strategy={strategy}: trains in copies of the process, which keep epochs, times and scores to "
            f"themselves; options: ddp, which starts the command once for each device"
        )
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
    parts = trainer.get("max_time")
    for name, value in parts.items() if isinstance(parts, Mapping) else ():
        check("trainer.max_time", name, Literal[PARTS])  # type: ignore[valid-type]
        check(f"trainer.max_time.{name}", value, NonNegativeNumber)
    if trainer.get("max_steps", -1) != -1:
        raise UserError(
            f"trainer.max_steps={shown(trainer['max_steps'])}: schedules go by epochs; set trainer.max_epochs"
        )
    for split in ("train", "val", "test"):
        limit = trainer.get(f"limit_{split}_batches")
        if limit is not None:
            check(f"trainer.limit_{split}_batches", limit, PositiveNumber)
