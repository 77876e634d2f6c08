"""Check a training configuration before anything expensive, torch included, is touched."""

import logging
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from shiftaddaug import operators, tasks
from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.commands.check_mechanisms import (
    check_augmentation,
    check_mechanisms,
    check_operator_keys,
    check_stored_ratio,
)
from shiftaddaug.commands.check_optim import check_optim
from shiftaddaug.data.checks import HELD, check_data_config
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.nets.assignment import select_layers
from shiftaddaug.nets.extras import plan_extra_blocks
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import shown_size
from shiftaddaug.nets.spec import SubnetSpec, Widening
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.settings import check_number, check_option, check_positive_integer
from shiftaddaug.tasks.settings import TaskSettings

log = logging.getLogger(__name__)

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
PRECISIONS = (
    *("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "bf16", "64"),
    *("transformer-engine", "transformer-engine-float16"),
)
"""What Lightning's Trainer knows, here because asking it imports torch."""
COMPILE_BACKENDS = ("inductor", "cudagraphs", "aot_eager", "eager")
"""Backends of `torch.compile`; the last two compile nothing, and are for finding mistakes."""


def check_train_config(cfg: DictConfig, overrides: Sequence[str] = (), catalogue: Catalogue = PACKAGE_ONLY) -> Plan:
    """The plan of the target network, if the configuration is sound.

    Args:
        cfg: composed from configs/train.yaml.
        overrides: what the user typed, to warn of settings without effect.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: the first mistake, by key.
    """
    check_positive_integer("trainer.max_epochs", cfg.trainer.max_epochs)
    check_trainer(cfg.trainer)
    check_optim(cfg, overrides)
    check_number("seed", cfg.seed, at_least=0, at_most=2**32 - 1)
    task = tasks.settings_from(_plain(cfg.task), catalogue)
    _check_compile(task.compile)
    check_positive_integer("net.divisor", cfg.net.divisor)
    if not OmegaConf.is_list(cfg.net.mult_layers):
        raise UserError(f"net.mult_layers={cfg.net.mult_layers}: must be a list; [] names no layer")
    check_augmentation(cfg, overrides)
    check_data_config(_plain(cfg.data))
    _check_val_split(cfg.data, overrides)
    task.check_data(_plain(cfg.data))
    task.check_distillation(cfg.aug.distill_weight)
    plan = plan_net(_plain(cfg.net), _outputs(cfg, task), cfg.data.in_channels, cfg.data.image_size, catalogue)
    _check_batch(cfg, plan)
    operator = operators.settings_from(_plain(cfg.op), catalogue)
    check_mechanisms(cfg, operator)
    check_operator_keys(cfg, operator, overrides)
    check_stored_ratio(cfg, operator, overrides)
    _check_operator(cfg, operator, plan, select_layers(plan, list(cfg.net.mult_layers)))
    plan_extra_blocks(plan, cfg.aug.extra_blocks, None if cfg.aug.extra_after is None else list(cfg.aug.extra_after))
    return plan


def check_trainer(trainer: DictConfig) -> None:
    """Check values of the `trainer` group that mistypings are likely in; the Trainer checks them all, once it is made.

    Raises:
        UserError: the first mistake, by key.
    """
    check_option("trainer.accelerator", trainer.accelerator, ACCELERATORS)
    if trainer.precision is not None:
        check_option("trainer.precision", trainer.precision, PRECISIONS)
    if trainer.gradient_clip_val is not None:
        check_number("trainer.gradient_clip_val", trainer.gradient_clip_val, at_least=0)
    check_positive_integer("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches)
    if trainer.get("max_steps", -1) != -1:
        raise UserError(f"trainer.max_steps={trainer.max_steps}: schedules go by epochs; set trainer.max_epochs")
    for split in ("train", "val", "test"):
        key = f"limit_{split}_batches"
        if trainer.get(key) is not None:
            check_number(f"trainer.{key}", trainer[key], above=0)


def _check_batch(cfg: DictConfig, plan: Plan) -> None:
    """Refuse batches that leave a batch-norm less than two values of each channel."""
    alone = cfg.data.batch_size == 1 and not (cfg.trainer.sync_batchnorm and cfg.trainer.devices != 1)
    if alone and max(plan.image_size) <= plan.total_stride:
        raise UserError(
            f"data.batch_size=1: leaves batch-norm one value of each channel, for net={plan.name} makes one pixel of "
            f"data.image_size={shown_size(plan.image_size)}; options: a larger batch, or larger images"
        )


def _check_val_split(data: DictConfig, overrides: Sequence[str]) -> None:
    """Warn of a typed split of a data set that comes with its own."""
    typed = [override for override in overrides if override.startswith(("data.val_fraction=", "data.split_seed="))]
    if typed and data._target_.endswith(".ImageFolderDataModule"):
        from shiftaddaug.data.class_folders import has_test_split

        if has_test_split(Path(data.data_dir).expanduser()):
            log.warning("no effect, because %s has a test/ besides its val/: %s", data.data_dir, ", ".join(typed))


def _check_compile(backend: str | None) -> None:
    """Refuse a backend that does not exist or cannot compile: torch would say so in 50 lines, in the first step."""
    if backend is None:
        return
    check_option("task.compile", backend, COMPILE_BACKENDS)
    compiler = os.environ.get("CXX", "g++")
    if backend == "inductor" and shutil.which(compiler) is None:
        raise UserError(f"task.compile=inductor: needs a C++ compiler, and {compiler} was not found; set CXX")


def _check_operator(cfg: DictConfig, operator: OperatorSettings, plan: Plan, mult_layers: Collection[str]) -> None:
    """Refuse an operator in a precision that it cannot be had in, and one that is widened where it cannot be.

    `hybrid.layers` refuses the latter too."""
    warning = operator.check_precision(str(cfg.trainer.precision))
    if warning is not None:
        log.warning(warning)
    if operator.shareable:
        return
    aug = cfg.aug
    widening = Widening(plan, tuple(aug.width_multipliers), tuple(aug.expand_multipliers), aug.divisor)
    widest = plan.at(SubnetSpec(widening.max_channels())).channels()
    wider = {space.name for space in plan.spaces if widest[space.name] > space.channels}
    for layer in plan.layers():
        if layer.name not in mult_layers and wider & {*plan.sources(layer), layer.space}:
            raise operators.cannot_be_augmented(cfg.op.name)


def _outputs(cfg: DictConfig, task: TaskSettings) -> int:
    data = _plain(cfg.data)
    if data.get("num_classes", 0) is None:
        data["num_classes"] = _held_classes(cfg)
    try:
        outputs = task.outputs(data)
        if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1:
            raise ValueError(f"it says {outputs}")
        return outputs
    except KeyError as error:
        raise UserError(
            f"data={cfg.data.name}: has no {error.args[0]}, which task={task.name} reads; options: other data, or that "
            "task for which these are made"
        ) from error
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"data={cfg.data.name}: task={task.name} cannot tell the number of outputs ({reason})"
        ) from error


def _held_classes(cfg: DictConfig) -> int:
    if cfg.data.name in HELD:
        return HELD[cfg.data.name][0]
    from shiftaddaug.data.class_folders import count_classes

    return count_classes(cfg.data.data_dir)


def _plain(node: DictConfig) -> dict[str, Any]:
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
