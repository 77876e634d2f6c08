"""Checks of a run that look at several groups at once, before torch is imported."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.timetable import epochs_until
from shiftaddaug.runs.rules import Checked, typed_of
from shiftaddaug.runs.searching import is_search

log = logging.getLogger(__name__)

STOPS = (
    "shiftaddaug.callbacks.early_stopping.StopEarly",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
)
"""Callbacks (`_target_`) that end a training when its figure has not become better for a while."""

RECIPES = ("shift", "add", "mult")
"""Operators that configs/recipe has the best mechanisms of."""


def measures_always(callbacks: Mapping[str, Any]) -> bool:
    """Whether batch-norm statistics are measured whatever the length of the run (bn=recalibrated)."""
    node = callbacks.get("recalibrate") or {}
    return bool(node) and node.get("epoch_steps") is None and node.get("total_steps") is None


def check_unvalidated(callbacks: Mapping[str, Any]) -> None:
    """Refuse what cannot be had of a run that validates nothing.

    Raises:
        UserError: a search, or statistics of averaged weights.
    """
    if is_search():
        raise UserError("data.val_fraction=0: leaves a search no score on validation; options: a share, such as 0.1")
    if callbacks.get("ema") and measures_always(callbacks):
        raise UserError(
            "bn=recalibrated: measures statistics of averaged weights (callbacks=ema) when they are validated, and "
            "data.val_fraction=0 leaves nothing to validate; options: bn=running"
        )


def check_strategy(checked: Checked) -> None:
    """Refuse a strategy that waits for gradients of all weights, where steps leave some of them out."""
    name, strategy = checked.config["aug"]["name"], checked.config["trainer"].get("strategy")
    turning = checked.config["callbacks"].get("block_variant")
    if strategy == "ddp_find_unused_parameters_false" and (checked.augmented or turning):
        what = f"aug={name}" if checked.augmented else "block_variant"
        raise UserError(
            f"trainer.strategy={strategy}: would stop at the first step in which {what} leaves a weight out; options: "
            f"auto, ddp, ddp_find_unused_parameters_true"
        )


def check_sharing_of_blends(checked: Checked) -> None:
    """Refuse layers that mix both results where the operator's share of the gradient would be divided by zeros.

    Raises:
        UserError: naming both keys.
    """
    turning = checked.config["callbacks"].get("block_variant")
    if turning and turning.get("blend") and checked.sharing.learns:
        raise UserError(
            f"block_variant=blend: sharing={checked.sharing.name} has factors that may become 0, and a blended layer's "
            f"gradient is divided by them; options: block_variant=layer, block, none"
        )


def check_frozen(config: Mapping[str, Any]) -> None:
    """Refuse mechanisms that would change an encoder which stays as it is.

    Raises:
        UserError: naming one.
    """
    if not config["net"].get("freeze_encoder", False):
        return
    for key, does in (("reorder", "moves"), ("block_variant", "turns")):
        if config["callbacks"].get(key):
            what = "channels" if key == "reorder" else "layers"
            raise UserError(f"net.freeze_encoder=true: {key} {does} {what} of the encoder; options: {key}=none, false")
    if config["net"].get("init_from") is None:
        log.warning("net.freeze_encoder=true: net.init_from=null, so that the encoder stays as it was drawn at random")


def check_compile(backend: str | None) -> None:
    """Refuse a backend that cannot compile: torch would say so in 50 lines, in the first step."""
    compiler = os.environ.get("CXX", "g++")
    if backend == "inductor" and shutil.which(compiler) is None:
        raise UserError(f"task.compile=inductor: needs a C++ compiler, and {compiler} was not found; set CXX")


def warn_of_operators(checked: Checked) -> None:
    """Pass on what operators say of training with their settings, and of first multiplying by their weights."""
    sharing, turning = checked.sharing, checked.config["callbacks"].get("block_variant")
    for operator in checked.stated.values():
        training, multiplied = operator.training_warning(), operator.multiplied_warning()
        if training is not None:
            log.warning(training)
        if multiplied is not None and turning and not sharing.converts:
            log.warning("block_variant with op=%s and sharing=%s: %s", operator.name, sharing.name, multiplied)


def warn_of_early_stop(checked: Checked) -> None:
    """Say where a run may stop before the target is trained as it will be deployed, and what lets it wait."""
    callbacks, trainer = checked.config["callbacks"], checked.config["trainer"]
    stops = [name for name, node in callbacks.items() if node and node.get("_target_") in STOPS]
    if not stops:
        return
    free = any(operator.arithmetic.multiplication_free for operator in checked.assignment.operators())
    turning = bool(callbacks.get("block_variant")) and free
    retiring = bool(callbacks.get("retire_depth")) and bool(checked.widening.extra_blocks)
    schedules = {"block_variant": ("layers turn", turning), "retire_depth": ("extra blocks go", retiring)}
    ends = {name: callbacks[name].get("end", 1.0) for name, (_, runs) in schedules.items() if runs}
    for name, end in ends.items():
        epochs = epochs_until(end, trainer["max_epochs"])
        if end and (trainer.get("min_epochs") or 0) < epochs:
            log.warning(
                "callbacks.%s may stop the run while %s (callbacks.%s.end=%s), and the deployed net would be one that "
                "was not trained; +trainer.min_epochs=%d has it wait",
                *(stops[0], schedules[name][0], name, end, epochs_until(max(ends.values()), trainer["max_epochs"])),
            )


def warn_of_recipe(op: str, available: Sequence[str], typed: Sequence[str]) -> None:
    """Say that a recipe is that of another operator, where a later choice has taken its operator's place.

    Args:
        op: name of the `op` group that was chosen.
        available: names of all; a recipe that has another name says nothing of an operator.
        typed: what the user typed.
    """
    named = [override.partition("=")[2] for override in typed_of(["recipe"], typed)]
    if named and named[-1] in available and named[-1] != op:
        remedy = f"recipe={op}" if op in RECIPES else "no recipe"
        log.warning(
            "recipe=%s: sets what was measured best for op=%s, and this run has op=%s; options: %s",
            *(named[-1], named[-1], op, remedy),
        )


def check_operators(checked: Checked) -> None:
    """Refuse operators in a precision that they cannot be had in, and those that are widened where they cannot be.

    `hybrid.layers` refuses the latter too."""
    for operator in checked.stated.values():
        warning = operator.check_precision(str(checked.config["trainer"].get("precision")))
        if warning is not None:
            log.warning(warning)
    assignment, widening = checked.assignment, checked.widening
    if all(operator.shareable for operator in assignment.operators()):
        return
    plan, widening = widening.plan, replace(widening, extra_blocks=())  # which multiply, whatever the operator
    widest = plan.at(SubnetSpec(widening.max_channels())).channels()
    wider = {space.name for space in plan.spaces if widest[space.name] > space.channels}
    for layer in plan.layers():
        operator = assignment[layer.name]
        if not operator.shareable and wider & {*plan.sources(layer), layer.space}:
            raise operators.cannot_be_augmented(operator.name)
