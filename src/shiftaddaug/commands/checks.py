"""Check a training configuration before anything expensive, torch included, is touched."""

import logging
import math
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from shiftaddaug import operators
from shiftaddaug.commands.checkpoints import find_checkpoint, read_config, refuse_other_run
from shiftaddaug.data.checks import HELD, check_data_config
from shiftaddaug.errors import UserError
from shiftaddaug.nets.cost import select_layers
from shiftaddaug.nets.extras import plan_extra_blocks
from shiftaddaug.nets.plan import NetPlan
from shiftaddaug.nets.spec import Widening
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.nets.timetable import Conversion, Retirement
from shiftaddaug.operators.fields import AddFields
from shiftaddaug.report.results import RESULTS

log = logging.getLogger(__name__)

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
PRECISIONS = (
    *("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "bf16", "64"),
    *("transformer-engine", "transformer-engine-float16"),
)
"""What Lightning's Trainer knows, here because asking it imports torch."""
COMPILE_BACKENDS = ("inductor", "cudagraphs", "aot_eager", "eager")
"""Of `torch.compile`; the last two compile nothing, and are for finding mistakes."""


def check_train_config(cfg: DictConfig, overrides: Sequence[str] = ()) -> NetPlan:
    """The plan of the target network, if the configuration is sound.

    Args:
        cfg: composed from configs/train.yaml.
        overrides: what the user typed, to warn of settings without effect.

    Raises:
        UserError: the first mistake, by key.
    """
    _positive_integer("trainer.max_epochs", cfg.trainer.max_epochs)
    check_trainer(cfg.trainer)
    _number("optim.lr", cfg.optim.lr, above=0)
    _number("optim.warmup_epochs", cfg.optim.warmup_epochs, at_least=0)
    _number("optim.min_lr", cfg.optim.min_lr, at_least=0)
    _number("seed", cfg.seed, at_least=0, at_most=2**32 - 1)
    _number("task.label_smoothing", cfg.task.label_smoothing, at_least=0, at_most=1)
    _check_compile(cfg.task.compile)
    _positive_integer("net.divisor", cfg.net.divisor)
    if cfg.optim.warmup_epochs >= cfg.trainer.max_epochs:
        log.warning(
            "optim.warmup_epochs=%s leaves no epoch at the full learning rate of trainer.max_epochs=%s",
            cfg.optim.warmup_epochs,
            cfg.trainer.max_epochs,
        )
    if not OmegaConf.is_list(cfg.net.mult_layers):
        raise UserError(f"net.mult_layers={cfg.net.mult_layers}: must be a list; [] names no layer")
    _check_augmentation(cfg, overrides)
    check_data_config(_plain(cfg.data))
    for key in ("mixup", "cutmix"):
        _number(f"task.{key}", cfg.task[key], at_least=0)
        if cfg.task[key] and cfg.data.batch_size % 2:
            raise UserError(f"data.batch_size={cfg.data.batch_size}: must be even with task.{key}={cfg.task[key]}")
    num_classes = cfg.data.num_classes or _held_classes(cfg)
    plan = plan_net(_plain(cfg.net), num_classes, cfg.data.in_channels, cfg.data.image_size)
    _check_mechanisms(cfg)
    _check_stored_ratio(cfg, overrides)
    _check_operator(cfg, plan, select_layers(plan, list(cfg.net.mult_layers)))
    plan_extra_blocks(plan, cfg.aug.extra_blocks, None if cfg.aug.extra_after is None else list(cfg.aug.extra_after))
    return plan


def check_trainer(trainer: DictConfig) -> None:
    """Check values of the `trainer` group that mistypings are likely in; the Trainer checks them all, once it is made.

    Raises:
        UserError: the first mistake, by key.
    """
    _one_of("trainer.accelerator", trainer.accelerator, ACCELERATORS)
    if trainer.precision is not None:
        _one_of("trainer.precision", trainer.precision, PRECISIONS)
    if trainer.gradient_clip_val is not None:
        _number("trainer.gradient_clip_val", trainer.gradient_clip_val, at_least=0)
    _positive_integer("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches)
    if trainer.get("max_steps", -1) != -1:
        raise UserError(f"trainer.max_steps={trainer.max_steps}: schedules go by epochs; set trainer.max_epochs")
    for split in ("train", "val", "test"):
        key = f"limit_{split}_batches"
        if trainer.get(key) is not None:
            _number(f"trainer.{key}", trainer[key], above=0)


def _check_compile(backend: str | None) -> None:
    """A backend that exists, and what it compiles with: torch would say so in 50 lines, in the first step."""
    if backend is None:
        return
    _one_of("task.compile", backend, COMPILE_BACKENDS)
    compiler = os.environ.get("CXX", "g++")
    if backend == "inductor" and shutil.which(compiler) is None:
        raise UserError(f"task.compile=inductor: needs a C++ compiler, and {compiler} was not found; set CXX")


def check_resumed(cfg: DictConfig) -> None:
    """Find the checkpoint that a run resumes, and see that it is of the same run.

    Warns of one that has finished, and of another number of devices.

    Raises:
        UserError: there is none, it is damaged, or it is of another run.
    """
    if cfg.ckpt_path is not None:
        path = find_checkpoint(str(cfg.ckpt_path), Path(cfg.paths.log_dir))
        theirs = read_config(path)
        refuse_other_run(path, {"config": theirs}, _plain(cfg))
        if (path.absolute().parents[1] / RESULTS).exists():
            log.warning("ckpt_path=%s: that run has finished: there is nothing left to train", path)
        devices = theirs["trainer"].get("devices")
        if isinstance(devices, int) and isinstance(cfg.trainer.devices, int) and devices != cfg.trainer.devices:
            log.warning(
                "ckpt_path=%s: was trained with trainer.devices=%s, this run has trainer.devices=%s: the batches of "
                "all processes together are of another size, and losses differ from those of the resumed run",
                *(path, devices, cfg.trainer.devices),
            )


def _check_operator(cfg: DictConfig, plan: NetPlan, mult_layers: Collection[str]) -> None:
    """The fields of the operator, and that it is not widened where it cannot be: `hybrid.layers` refuses that too.

    Warns of add layers stored in half precision.
    """
    fields = operators.check_config(_plain(cfg.op))
    if isinstance(fields, AddFields) and cfg.trainer.precision in ("16-true", "bf16-true"):
        log.warning(
            "trainer.precision=%s with op=add: an output's mean is hundreds of times its spread, most of which half "
            "precision rounds away (10 %% of the digits right, and 96 %% with bf16-mixed)",
            cfg.trainer.precision,
        )
    if fields is None or fields.shareable:
        return
    aug = cfg.aug
    widening = Widening(plan, tuple(aug.width_multipliers), tuple(aug.expand_multipliers), aug.divisor)
    most = zip(plan.spaces, widening.max_channels(), strict=True)
    wider = {space.name for space, channels in most if channels > space.channels}
    for layer in plan.layers():
        if layer.name not in mult_layers and wider & {layer.plan.source, layer.plan.out}:
            raise operators.cannot_be_augmented(cfg.op.name)


def _check_mechanisms(cfg: DictConfig) -> None:
    """Sharing and schedules; warns of those that have nothing to work on."""
    sharing, aug = cfg.sharing, cfg.aug
    widened = max(*aug.width_multipliers, *aug.expand_multipliers) > 1
    if sharing.name == "heterogeneous":
        _one_of("sharing.gradient", sharing.gradient, ("inverse", "chain"))
        if sharing.stored_ratio is not None:
            _number("sharing.stored_ratio", sharing.stored_ratio, above=0)
        if sharing.remap_file is not None and not Path(sharing.remap_file).expanduser().is_file():
            raise UserError(f"sharing.remap_file={sharing.remap_file}: no such file")
        if sharing.remap_file is None and cfg.op.name not in sharing.remaps:
            known = ", ".join(sharing.remaps)
            log.warning("no effect, because op=%s has no remap (%s have): sharing=heterogeneous", cfg.op.name, known)
    elif sharing.name == "kl":
        if cfg.op.name == "mult":
            log.warning("no effect, because op=mult leaves no layer multiplication-free: sharing=kl")
        elif cfg.op.name in operators.FIELDS and not operators.FIELDS[cfg.op.name].shareable:
            log.warning("no effect, because op=%s trains no weight that multiplies: sharing=kl", cfg.op.name)
        _number("sharing.weight", sharing.weight, at_least=0)
        _number("sharing.scale", sharing.scale, above=0)
    for name, keys in (("reorder", ("every_n_epochs",)), ("recalibrate", ("batches",))):
        for key in keys if cfg.callbacks.get(name) else ():
            _positive_integer(f"callbacks.{name}.{key}", cfg.callbacks[name][key])
    if cfg.callbacks.get("ema"):
        _number("callbacks.ema.decay", cfg.callbacks.ema.decay, at_least=0, at_most=1)
    if cfg.callbacks.get("reorder"):
        for key in ("until", "width_until", "expand_until"):
            _number(f"callbacks.reorder.{key}", cfg.callbacks.reorder[key], at_least=0, at_most=1)
        if not widened:
            log.warning("no effect, because aug=%s widens nothing: reorder=l1", aug.name)
    if cfg.callbacks.get("block_variant") and cfg.op.name == "add" and sharing.name != "heterogeneous":
        log.warning(
            "block_variant with op=add and sharing=%s: layers first multiply with weights as large as op.init_std=%s, "
            "beside which steps are tiny, and hardly learn until they turn; sharing=heterogeneous does better",
            sharing.name,
            cfg.op.init_std,
        )
    if aug.distill_weight and not (widened or aug.extra_blocks):
        log.warning("no effect, because aug=%s has no augmented pass: aug.distill_weight", aug.name)


def _check_stored_ratio(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Warn of a typed ratio that nothing obeys: `nets/stored_scale.py` says when the scale is free."""
    typed = [override for override in overrides if override.startswith("sharing.stored_ratio=")]
    if not typed or cfg.sharing.name != "heterogeneous":
        return
    remap = cfg.sharing.remaps.get(cfg.op.name)
    reason = ""
    if cfg.sharing.remap_file is None and (remap is None or remap.form != "replace" or remap.relative):
        reason = f"the stored scale means something to op={cfg.op.name}"
    elif cfg.sharing.gradient == "chain":
        reason = "sharing.gradient=chain lets it mean something"
    elif cfg.aug.operator == "same":
        reason = "aug.operator=same multiplies nothing"
    elif not cfg.optim.optimizer._target_.endswith(".SGD"):
        reason = f"the steps of {cfg.optim.optimizer._target_} have a scale of their own"
    if reason:
        log.warning("no effect, because %s: %s", reason, ", ".join(typed))


def _check_augmentation(cfg: DictConfig, overrides: Sequence[str]) -> None:
    aug = cfg.aug
    for key in ("width_multipliers", "expand_multipliers"):
        values = aug[key]
        if not OmegaConf.is_list(values) or len(values) == 0:
            raise UserError(f"aug.{key}={values}: must be a list of numbers >= 1, such as [1.0, 1.6, 2.2]")
        for value in values:
            _number(f"aug.{key}", value, at_least=1)
    for key in ("weight", "distill_weight"):
        _number(f"aug.{key}", aug[key], at_least=0)
    _number("aug.distill_temperature", aug.distill_temperature, above=0)
    _one_of("aug.operator", aug.operator, ("mult", "same"))
    for key in ("width_until", "expand_until", "depth_until"):
        _number(f"aug.{key}", aug[key], at_least=0, at_most=1)
    _positive_integer("aug.divisor", aug.divisor)
    for name, schedule in (("block_variant", Conversion), ("retire_depth", Retirement)):
        settings = cfg.callbacks.get(name)
        if settings:
            schedule(**{key: value for key, value in settings.items() if key != "_target_"})
    typed = [override for override in overrides if override.startswith("aug.")]
    if max(*aug.width_multipliers, *aug.expand_multipliers) == 1 and not aug.extra_blocks:
        if typed:
            log.warning("no effect, because aug=%s widens nothing: %s", aug.name, ", ".join(typed))
        return
    for kind in ("width", "expand"):
        if max(aug[f"{kind}_multipliers"]) == 1:
            for override in (o for o in typed if o.startswith(f"aug.{kind}_until")):
                log.warning("no effect, because aug.%s_multipliers widen nothing: %s", kind, override)


def _held_classes(cfg: DictConfig) -> int:
    if cfg.data.name in HELD:
        return HELD[cfg.data.name][0]
    from shiftaddaug.data.class_folders import count_classes

    return count_classes(cfg.data.data_dir)


def _plain(node: DictConfig) -> dict[str, Any]:
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _positive_integer(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{key}={value}: must be a positive integer")


def _one_of(key: str, value: Any, options: Sequence[str]) -> None:
    if str(value) not in options:
        raise UserError(f"{key}={value}: no such option; options: {', '.join(options)}")


def _number(
    key: str, value: Any, above: float | None = None, at_least: float | None = None, at_most: float | None = None
) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    low = (above is None or value > above) and (at_least is None or value >= at_least) if number else False
    if low and (at_most is None or value <= at_most):
        return
    limits = {"> ": above, ">= ": at_least, "<= ": at_most}
    wanted = " and ".join(f"{sign}{limit}" for sign, limit in limits.items() if limit is not None)
    raise UserError(f"{key}={value}: must be a number {wanted}")
