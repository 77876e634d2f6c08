"""Check the settings of what the method adds: augmentation, sharing, schedules; warn of those without effect."""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from shiftaddaug.errors import UserError
from shiftaddaug.nets.timetable import Conversion, Retirement
from shiftaddaug.operators.settings import OperatorSettings

log = logging.getLogger(__name__)


def check_mechanisms(cfg: DictConfig, operator: OperatorSettings) -> None:
    """Check sharing and schedules; warn of those that have nothing to work on."""
    sharing, aug = cfg.sharing, cfg.aug
    widened = max(*aug.width_multipliers, *aug.expand_multipliers) > 1
    if sharing.name == "heterogeneous":
        if sharing.remap_file is not None and not Path(sharing.remap_file).expanduser().is_file():
            raise UserError(f"sharing.remap_file={sharing.remap_file}: no such file")
        if operator.remap is None:
            log.warning("no effect, because op=%s has no remap: sharing=heterogeneous", cfg.op.name)
    elif sharing.name == "kl":
        if operator.weight_prior is None and not cfg.callbacks.get("block_variant"):
            log.warning("no effect, because op=%s says nothing that its weights are pulled to: sharing=kl", cfg.op.name)
        elif operator.weight_prior == "normal" and sharing.normal_std is None:
            log.warning("no effect, because sharing.normal_std=null and op=%s is pulled to it: sharing=kl", cfg.op.name)
    if cfg.callbacks.get("reorder") and not widened:
        log.warning("no effect, because aug=%s widens nothing: reorder=l1", aug.name)
    warning = operator.training_warning()
    if warning is not None:
        log.warning(warning)
    warning = operator.multiplied_warning()
    if warning is not None and cfg.callbacks.get("block_variant") and sharing.name != "heterogeneous":
        log.warning("block_variant with op=%s and sharing=%s: %s", cfg.op.name, sharing.name, warning)
    if aug.distill_weight and not (widened or aug.extra_blocks):
        log.warning("no effect, because aug=%s has no augmented pass: aug.distill_weight", aug.name)


def check_operator_keys(cfg: DictConfig, operator: OperatorSettings, overrides: Sequence[str]) -> None:
    """Warn of typed keys of the operator that its other keys, or R, take the place of."""
    for key, reason in operator.without_effect.items():
        for override in (o for o in overrides if o.split("=")[0] == f"op.{key}"):
            log.warning("no effect, because %s: %s", reason, override)
    stored = [o for o in overrides if o.split("=")[0].removeprefix("op.") in operator.without_remap]
    if stored and cfg.sharing.name == "heterogeneous" and operator.remap is not None:
        log.warning("no effect, because sharing=heterogeneous stores weights in Gaussian form: %s", ", ".join(stored))
    typed = [override for override in overrides if override.split("=")[0] in _replaced(operator)]
    if typed and cfg.sharing.name == "heterogeneous" and operator.remap is not None:
        scale = "op.remap.laplace_scale" if cfg.sharing.remap_file is None else "the remap file"
        log.warning("no effect, because with sharing=heterogeneous %s says how large weights are: %s", scale, *typed)


def _replaced(operator: OperatorSettings) -> list[str]:
    return [f"op.{key}" for key in operator.replaced_by_remap]


def check_stored_ratio(cfg: DictConfig, operator: OperatorSettings, overrides: Sequence[str]) -> None:
    """Warn of a typed ratio that nothing obeys: `nets/stored_scale.py` says when the scale is free."""
    typed = [override for override in overrides if override.startswith("sharing.stored_ratio=")]
    if not typed or cfg.sharing.name != "heterogeneous":
        return
    remap = operator.remap
    reason = ""
    if not cfg.callbacks.get("reorder"):
        reason = "reorder=none sorts nothing by it"
    elif cfg.sharing.remap_file is None and (remap is None or not remap.scale_free):
        reason = f"the stored scale means something to op={cfg.op.name}"
    elif cfg.sharing.gradient == "chain":
        reason = "sharing.gradient=chain lets it mean something"
    elif cfg.aug.operator == "same":
        reason = "aug.operator=same multiplies nothing"
    elif not cfg.optim.optimizer._target_.endswith(".SGD"):
        reason = f"the steps of {cfg.optim.optimizer._target_} have a scale of their own"
    if reason:
        log.warning("no effect, because %s: %s", reason, ", ".join(typed))


def check_augmentation(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Warn of typed keys of the augmentation that others leave without effect.

    Raises:
        UserError: a schedule that ends before it begins.
    """
    aug = cfg.aug
    for name, schedule in (("block_variant", Conversion), ("retire_depth", Retirement)):
        settings = cfg.callbacks.get(name)
        if settings:  # that it begins before it ends
            schedule(**{key: value for key, value in settings.items() if key != "_target_"})
    typed = [override for override in overrides if override.startswith("aug.")]
    unused = [o for o in typed if o.startswith("aug.distill_temperature=")]
    if unused and not aug.distill_weight:
        log.warning("no effect, because aug.distill_weight=0: %s", *unused)
    unused = [o for o in typed if o.startswith(("aug.retire_", "aug.extra_after=", "aug.depth_until="))]
    if unused and not aug.extra_blocks:
        log.warning("no effect, because aug.extra_blocks=0: %s", ", ".join(unused))
    if max(*aug.width_multipliers, *aug.expand_multipliers) == 1 and not aug.extra_blocks:
        if typed:
            log.warning("no effect, because aug=%s widens nothing: %s", aug.name, ", ".join(typed))
        return
    for kind in ("width", "expand"):
        if max(aug[f"{kind}_multipliers"]) == 1:
            for override in (o for o in typed if o.startswith(f"aug.{kind}_until")):
                log.warning("no effect, because aug.%s_multipliers widen nothing: %s", kind, override)
