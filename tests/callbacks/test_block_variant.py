"""Block-variant training in a real trainer: what each step's target multiplies, and what a resumed run does."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.build import bottlenecks
from tests.tasks.little import fit as fit_batches
from tests.tasks.little import make_batch, quiet_trainer
from tests.tasks.little import make_task as make_little_task

from shiftaddaug.callbacks.block_variant import BlockVariant
from shiftaddaug.callbacks.depth import RetireDepth
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.timetable import Conversion, Retirement
from shiftaddaug.tasks.training import Training

FREE = [f"blocks.{block}.{conv}.conv" for block in (0, 1) for conv in ("expand", "depthwise", "project")]
EPOCHS, STEPS = 4, 3
"""Of training, and of an epoch."""


class Record(pl.Callback):
    """The target of every step, as the task has it when the step is over."""

    def __init__(self) -> None:
        self.specs: list[SubnetSpec] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.specs.append(pl_module.target_spec)


def make_task(op: str = "shift", **arguments: Any) -> Training:
    momentum = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    settings = {"table": bottlenecks(head=False), "width": 1.0, "expand": 1.0, "extra_blocks": 2, "optimizer": momentum}
    return make_little_task(op, **{**settings, **arguments})


def fit(task: Training, *callbacks: pl.Callback, max_epochs: int = EPOCHS, resume: Path | None = None) -> None:
    batches = [make_batch(seed) for seed in range(STEPS)]
    fit_batches(task, batches, max_epochs=max_epochs, callbacks=list(callbacks), resume=resume)


def test_layers_turn_between_epochs_and_the_last_epoch_trains_none_that_multiplies(tmp_path: Path) -> None:
    task, record = make_task(), Record()
    fit(task, record, BlockVariant(0.0, 1.0))
    epochs = [record.specs[i : i + STEPS] for i in range(0, EPOCHS * STEPS, STEPS)]
    assert all(len(set(epoch)) == 1 for epoch in epochs)
    # from no slot over in the first epoch to all six in the last
    assert [epoch[0].multiplied for epoch in epochs] == [set(FREE[count:]) for count in (0, 2, 4, 6)]
    assert task.target_spec == task.net.target_spec


def test_blends_move_with_every_step(tmp_path: Path) -> None:
    record, total = Record(), EPOCHS * STEPS
    fit(make_task(), record, BlockVariant(0.0, 1.0, blend=True))
    plan, conversion = make_task().net.plan, Conversion(0.0, 1.0, blend=True)
    wanted = [conversion.schedule(plan, ["stem", "classifier"], step / (total - 1)) for step in range(total)]
    assert [(spec.multiplied, spec.blends) for spec in record.specs] == wanted
    assert wanted[0] == (frozenset(FREE), ())
    assert wanted[1][0] == frozenset(FREE[1:]) and wanted[1][1][0] == (FREE[0], pytest.approx(6 / 11))
    assert wanted[-1] == (frozenset(), ())


def share(spec: SubnetSpec, layer: str) -> float:
    """Of the operator in the layer's result."""
    return 0.0 if layer in spec.multiplied else dict(spec.blends).get(layer, 1.0)


@pytest.mark.parametrize("blend", [False, True])
def test_extra_blocks_that_do_not_multiply_turn_with_the_block_they_are_built_as(tmp_path: Path, blend: bool) -> None:
    """Where what surrounds the target computes with its operator."""
    task, record = make_task(sharing=Sharing(multiplicative_augmentation=False)), Record()
    fit(task, record, BlockVariant(0.0, 1.0, blend=blend))
    models = {extra.name: extra.model for extra in task.net.widening.extra_blocks}
    assert sorted(models) == ["extras.0", "extras.1"]
    extras = [name for name in task.net.hybrid_layers() if name.startswith("extras.")]
    assert len(extras) == 6 and set(extras) <= record.specs[0].multiplied
    for spec in record.specs:
        for name in extras:
            block = ".".join(name.split(".")[:2])
            assert share(spec, name) == share(spec, models[block] + name.removeprefix(block))
    assert record.specs[-1] == task.net.target_spec


@pytest.mark.parametrize("swapped", [False, True])
def test_conversion_and_retirement_write_beside_each_other(tmp_path: Path, swapped: bool) -> None:
    record, callbacks = Record(), [BlockVariant(0.0, 1.0), RetireDepth(0.25, 0.75)]
    fit(make_task(), *(callbacks[::-1] if swapped else callbacks), record)
    retirement, extras = Retirement(0.25, 0.75), ("extras.0", "extras.1")
    for step, spec in enumerate(record.specs):
        active = retirement.schedule(extras, step / (EPOCHS * STEPS - 1))
        assert spec.skipped == set(extras) - dict(active).keys()
        assert spec.fades == tuple((name, factor) for name, factor in active if factor < 1)
        assert len(spec.multiplied) == (6, 4, 2, 0)[step // STEPS]
    assert record.specs[0].skipped == frozenset()
    assert record.specs[-1].skipped == set(extras)


def test_a_hard_cut_comes_between_epochs(tmp_path: Path) -> None:
    record = Record()
    fit(make_task(), record, RetireDepth(0.0, 1.0, fade=False))
    assert [len(spec.skipped) for spec in record.specs] == [0] * 2 * STEPS + [1] * STEPS + [2] * STEPS


@pytest.mark.parametrize("blend", [False, True])
def test_a_run_of_one_epoch_ends_with_the_final_target(tmp_path: Path, blend: bool) -> None:
    task = make_task()
    fit(task, BlockVariant(0.0, 1.0, blend=blend), RetireDepth(0.0, 1.0, fade=blend), max_epochs=1)
    assert task.target_spec == task.net.target_spec


def test_a_run_cut_short_names_what_still_multiplied(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch == 1

    with caplog.at_level(logging.WARNING):
        fit(make_task(), BlockVariant(0.0, 1.0), RetireDepth(0.0, 1.0, fade=False), Stop())
    messages = [record.getMessage() for record in caplog.records if "training ended before" in record.getMessage()]
    assert messages[0].startswith("training ended before callbacks.block_variant.end=1.0")
    assert messages[0].endswith(": " + ", ".join(FREE[2:]))
    assert messages[1].endswith(": extras.0, extras.1")


@pytest.mark.parametrize(("blend", "epoch"), [(False, 1), (True, 2)])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path: Path, blend: bool, epoch: int) -> None:
    class Save(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    def callbacks() -> list[pl.Callback]:
        return [BlockVariant(0.0, 1.0, blend=blend), RetireDepth(0.0, 1.0)]

    whole, resumed, records = make_task(), make_task(), (Record(), Record())
    fit(whole, *callbacks(), Save(), records[0])
    path = tmp_path / f"{epoch}.ckpt"
    fit(resumed, *callbacks(), records[1], resume=path)
    assert records[1].specs == records[0].specs[(epoch + 1) * STEPS :]
    theirs = whole.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in resumed.state_dict().items() if "net." in name)
    for callback, key in (
        (BlockVariant(0.0, 0.9, blend=blend), "block_variant"),
        (RetireDepth(0.0, 0.9), "retire_dep"),
    ):
        with pytest.raises(UserError, match=rf"callbacks.{key}.*end=0.9: the checkpoint was trained with 1.0"):
            fit(make_task(), callback, resume=path)


def test_settings_are_in_the_checkpoint() -> None:
    settings: dict[str, Any] = {
        "start": 0.1,
        "end": 0.6,
        "order": "deep_to_shallow",
        "granularity": "block",
        "blend": True,
    }
    assert BlockVariant(**settings).state_dict() == settings | {"over": False}
    assert RetireDepth(0.1, 0.6, False).state_dict() == {"start": 0.1, "end": 0.6, "fade": False, "over": False}
    with pytest.raises(UserError, match=r"block_variant.order=shallow_to_deep: the checkpoint .* with deep_to_shallow"):
        BlockVariant(**{**settings, "order": "shallow_to_deep"}).load_state_dict(settings)


def test_an_operator_without_a_weight_to_multiply_by_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"callbacks.block_variant: op=shift_ps trains no weight .* options: no callb"):
        fit(make_task("shift_ps"), BlockVariant())


def test_nothing_to_turn_is_said(tmp_path: Path) -> None:
    task = make_task("mult")
    assert BlockVariant().idle(quiet_trainer(max_epochs=2), task) == "no layer is multiplication-free"
    fit(task, BlockVariant(), max_epochs=1)
    assert task.target_spec == task.net.target_spec


@pytest.mark.parametrize("blend", [False, True])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_single_epoch_leaves_hard_turning_without_effect(epochs: int, blend: bool) -> None:
    reason = BlockVariant(blend=blend).idle(quiet_trainer(max_epochs=epochs), make_task())
    wanted = "layers turn between epochs and trainer.max_epochs=1"
    assert reason == (wanted if epochs == 1 and not blend else None)


def test_without_extra_blocks_nothing_is_retired(tmp_path: Path) -> None:
    task, trainer = make_task(extra_blocks=0), quiet_trainer(max_epochs=2)
    assert RetireDepth().idle(trainer, task) == "the net has no extra blocks"
    assert RetireDepth().idle(trainer, make_task()) is None
    fit(task, RetireDepth(), max_epochs=1)
    assert task.target_spec.skipped == frozenset()
