"""Evaluate a deployed target, or a sub-network of a supernet's checkpoint, on a split of its data."""

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl

from shiftaddaug import tasks
from shiftaddaug.data.checks import holds_any_images, holds_validation, read_stored
from shiftaddaug.data.stored import data_module_of
from shiftaddaug.errors import DAMAGE, UserError, printable
from shiftaddaug.report.cost import cost_record, cost_rows
from shiftaddaug.report.drawing import draw_figures
from shiftaddaug.report.results import RESULTS, print_result, shortest_path, write_json
from shiftaddaug.runs.answers import KeepAnswers, write_kept
from shiftaddaug.runs.eval_settings import EvalSettings
from shiftaddaug.runs.lightning_trainer import (
    build_trainer,
    check_accelerator,
    check_limits,
    interruptible,
    quieten_lightning,
    say_profile,
)
from shiftaddaug.runs.rules import say_no_effect, typed_of
from shiftaddaug.runs.subnetworks import Subnetwork, load_subnetwork, recalibrate_on_training_data
from shiftaddaug.runs.target_plan import norm_of_one_pixel
from shiftaddaug.tasks.base import Objective
from shiftaddaug.tasks.evaluation import Evaluation
from shiftaddaug.tasks.settings import TaskSettings


def evaluate(settings: EvalSettings) -> float:
    """Evaluate, write results.json, print a table; return the task's headline figure.

    Raises:
        UserError: a damaged checkpoint, or data or a sub-network that does not fit it.
    """
    quieten_lightning()
    check_accelerator(settings.trainer)
    pl.seed_everything(settings.top.seed, workers=True, verbose=False)
    subnet, split = settings.subnet, settings.top.split
    subnetwork = load_subnetwork(settings.path, subnet.width_multiplier, subnet.expand_multiplier, settings.catalogue)
    objective = _objective(settings, subnetwork)
    data_config = data_of(settings, subnetwork)
    _check_changes(settings, subnetwork, objective.settings, data_config)
    if split == "val" and not holds_validation(data_config):
        raise UserError(f"split=val: ckpt_path={settings.path} held no images out (data.val_fraction=0); options: test")
    data: Any = data_module_of(data_config, settings.catalogue)
    check_data(settings, subnetwork, objective.settings, data)
    if holds_any_images(data_config):
        check_classes(settings, subnetwork, data_config, data)
    kept, options = KeepAnswers(), {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = build_trainer(settings.trainer, [kept], **options)
    data.prepare_data()
    data.setup("validate" if split == "val" else "test")
    check_limits(settings.trainer, data, trainer.world_size, [split])
    device = trainer.strategy.root_device
    recalibrate_on_training_data(subnetwork.net, data, settings.recalibrate_batches, device)
    module = Evaluation(subnetwork.net, objective)
    run = trainer.validate if split == "val" else trainer.test
    with interruptible(trainer):
        metrics = run(module, datamodule=data, verbose=False)[0]
    say_profile(trainer)
    costs: dict[str, Any] = {}
    if not settings.subnet.is_widened:  # else layers compute with two operators at once
        costs = cost_record(subnetwork.plan, subnetwork.assignment, settings.hardware)
    results = _results(settings, subnetwork, module.results(split, metrics))
    if trainer.is_global_zero:
        settings.folder.mkdir(parents=True, exist_ok=True)
        if write_kept(kept, settings.folder, objective, data, subnetwork.plan):
            draw_figures(settings.folder, settings.catalogue)
        write_json(settings.folder / RESULTS, objective.settings.record(objective.num_outputs) | results | costs)
        title = f"{subnetwork.plan.name}, op={subnetwork.assignment.title()}, data={data_config['name']}"
        print_result(title, {**results, **cost_rows(costs), "folder": shortest_path(settings.folder)})
    return float(metrics[f"{split}/{objective.settings.headline}"])


def _objective(settings: EvalSettings, subnetwork: Subnetwork) -> Objective:
    task = settings.changed_task(subnetwork.task_config)
    try:
        return tasks.build(task, subnetwork.plan.num_classes, settings.catalogue)
    except UserError as error:
        raise UserError(f"ckpt_path={settings.path}: {error}") from None


def _check_changes(settings: EvalSettings, subnetwork: Subnetwork, task: TaskSettings, data: Mapping[str, Any]) -> None:
    """Check what the user changes against the rest, and warn of what has no effect."""
    if settings.changes_sizes:
        task.check_data(data)
    for key, reason in task.without_effect().items():
        typed = typed_of([f"task.{key}"], settings.typed)
        if typed:
            say_no_effect(reason, typed)
    batches, norm = settings.recalibrate_batches, norm_of_one_pixel(subnetwork.plan)
    if batches and norm is not None and data.get("batch_size") == 1:
        raise UserError(
            f"data.batch_size=1: recalibrate_batches={batches} measures the batch-norm {norm}, of which one image has "
            f"one value of each channel; options: data.batch_size=2 and more, recalibrate_batches=0"
        )


def data_of(settings: EvalSettings, subnetwork: Subnetwork) -> dict[str, Any]:
    """Return the configuration of the data that it was trained on, with what the user changes.

    Raises:
        UserError: the checkpoint says nothing of its data, or a changed key is none of theirs.
    """
    if not isinstance(subnetwork.data_config, dict):
        raise UserError(f"ckpt_path={settings.path}: says nothing of the data it was trained on")
    return settings.changed(read_stored(subnetwork.data_config))


def check_data(settings: EvalSettings, subnetwork: Subnetwork, task: TaskSettings, data: Any) -> None:
    """Check that the data are made for the task, and need as many outputs as the network has.

    Raises:
        UserError: they are not, or do not.
    """
    name = str(subnetwork.data_config.get("name"))
    task.refuse_other_data(name, getattr(data, "task", None))
    held = {"num_classes": data.num_classes} if hasattr(data, "num_classes") else {}
    try:
        needed = task.outputs(subnetwork.data_config | held)
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"ckpt_path={settings.path}: its data have not what task={task.name} reads ({reason})"
        ) from error
    if needed != subnetwork.plan.num_classes:
        raise UserError(
            f"data={name}: need a network of {needed} outputs, and ckpt_path={settings.path} has "
            f"{subnetwork.plan.num_classes}"
        )


def check_classes(settings: EvalSettings, subnetwork: Subnetwork, config: Mapping[str, Any], data: Any) -> None:
    """Check that a folder of the user's own has the classes that a target says, each with the same label.

    Raises:
        UserError: it has others: every figure would be wrong, and look like one.
    """
    held = None if config.get("class_names") else data.class_names()  # those are typed, not found in the folder
    if subnetwork.classes is None or held is None or len(held) != len(subnetwork.classes):
        return
    for label, names in enumerate(zip(subnetwork.classes, held, strict=True)):
        stated, found = (unicodedata.normalize("NFC", name) for name in names)
        if stated != found:
            raise UserError(
                f"data.data_dir={config.get('data_dir')}: label {label} is {printable(found)} there, and "
                f"{printable(stated)} in ckpt_path={settings.path}; class folders need the same names"
            )


def _results(settings: EvalSettings, subnetwork: Subnetwork, measured: Mapping[str, Any]) -> dict[str, Any]:
    cost, batches = subnetwork.cost, settings.recalibrate_batches
    widened = settings.subnet.is_widened
    subnet = {f"subnet_{key}": value for key, value in asdict(settings.subnet).items()} if widened else {}
    return {
        "ckpt_path": str(settings.path.absolute()),
        "split": settings.top.split,
        **subnet,
        **({"recalibrate_batches": batches} if batches else {}),
        **measured,
        "params": cost.params,
        "macs": cost.macs,
        "multiplication_free_macs_percent": round(100 * cost.multiplication_free_share, 1),
    }
