"""Check a training configuration before anything expensive, torch included, is touched."""

import logging
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from shiftaddaug import operators, tasks
from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.commands.check_groups import check_groups, check_monitors, plain
from shiftaddaug.commands.check_mechanisms import (
    check_augmentation,
    check_mechanisms,
    check_operator_keys,
    check_stored_ratio,
)
from shiftaddaug.commands.check_memory import check_memory
from shiftaddaug.commands.check_optim import check_optim
from shiftaddaug.data.checks import check_data_config, settings_of
from shiftaddaug.data.settings import ClassificationSettings
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.nets.assignment import select_layers
from shiftaddaug.nets.extras import plan_extra_blocks
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import shown_size
from shiftaddaug.nets.spec import SubnetSpec, Widening
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.tasks.settings import TaskSettings

log = logging.getLogger(__name__)


def check_train_config(cfg: DictConfig, overrides: Sequence[str] = (), catalogue: Catalogue = PACKAGE_ONLY) -> Plan:
    """The plan of the target network, if the configuration is sound.

    Args:
        cfg: composed from configs/train.yaml.
        overrides: what the user typed, to warn of settings without effect.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: the first mistake, by key.
    """
    task = tasks.settings_from(plain(cfg.task), catalogue)  # whose keys others are interpolated from
    config = plain(cfg)
    check_groups(config, catalogue)
    check_optim(cfg, overrides)
    check_monitors(config["callbacks"], task)
    _check_compile(task.compile)
    check_augmentation(cfg, overrides)
    check_data_config(config["data"])
    _check_val_split(cfg.data, overrides)
    task.check_data(config["data"])
    task.check_distillation(cfg.aug.distill_weight)
    plan = plan_net(config["net"], _outputs(config, task), cfg.data.in_channels, cfg.data.image_size, catalogue)
    _check_batch(cfg, plan)
    operator = operators.settings_from(config["op"], catalogue)
    check_mechanisms(cfg, operator)
    check_operator_keys(cfg, operator, overrides)
    check_stored_ratio(cfg, operator, overrides)
    _check_operator(cfg, operator, plan, select_layers(plan, list(cfg.net.mult_layers)))
    aug = config["aug"]
    extras = plan_extra_blocks(plan, aug["extra_blocks"], aug["extra_after"])
    multipliers = tuple(aug["width_multipliers"]), tuple(aug["expand_multipliers"])
    check_memory(config, Widening(plan, *multipliers, aug["divisor"], extras))
    return plan


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
    """Refuse a backend that cannot compile: torch would say so in 50 lines, in the first step."""
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


def _outputs(config: dict[str, Any], task: TaskSettings) -> int:
    data = dict(config["data"])
    if data.get("num_classes", 0) is None:
        data["num_classes"] = _held_classes(data)
    try:
        outputs = task.outputs(data)
        if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1:
            raise ValueError(f"it says {outputs}")
        return outputs
    except KeyError as error:
        raise UserError(
            f"data={data['name']}: has no {error.args[0]}, which task={task.name} reads; options: other data, or that "
            "task for which these are made"
        ) from error
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"data={data['name']}: task={task.name} cannot tell the number of outputs ({reason})"
        ) from error


def _held_classes(data: dict[str, Any]) -> int:
    """Return the number of classes that the configuration leaves open."""
    settings = settings_of(data)
    if not isinstance(settings, ClassificationSettings):
        raise UserError(
            f"data.num_classes=null: data={data['name']} does not say it beforehand; must be a whole number"
        )
    return settings.classes()
