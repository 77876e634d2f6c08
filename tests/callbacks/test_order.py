"""The order of callbacks: by what they state, whatever the order in which they are given."""

import importlib
import random
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)

from shiftaddaug.callbacks.order import Stage, idle_reasons, in_order, stage_of
from shiftaddaug.catalogue import PACKAGE_ONLY


def package_callbacks() -> list[type[pl.Callback]]:
    """All that the package's folder defines, but bases without a place of their own."""
    modules = [importlib.import_module(name) for name in PACKAGE_ONLY.modules("callbacks").values()]
    found = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    ours = {kind for kind in found if issubclass(kind, pl.Callback) and kind.__module__.startswith("shiftaddaug.")}
    return sorted((kind for kind in ours if not kind.__name__.startswith("_")), key=lambda kind: kind.__name__)


class AfterReorder(pl.Callback):
    stage = Stage.REORDER + 1


class Silent(pl.Callback):
    pass


class OtherMeaning(pl.Callback):
    stage = "train"


def test_every_callback_of_the_package_states_its_own_place() -> None:
    kinds = package_callbacks()
    assert {"BlockVariant", "ReorderChannels", "Throughput", "WarmedUpEMA", "LastCheckpoint"} <= {
        kind.__name__ for kind in kinds
    }
    for kind in kinds:
        assert isinstance(vars(kind)["stage"], Stage), kind


def test_one_of_lightnings_stands_where_its_kind_belongs() -> None:
    assert stage_of(EMAWeightAveraging()) == Stage.AVERAGE
    assert stage_of(TQDMProgressBar()) == Stage.SHOW
    assert stage_of(ModelCheckpoint()) == Stage.SAVE
    for callback in (LearningRateMonitor(), EarlyStopping("val/loss"), Silent(), OtherMeaning()):
        assert stage_of(callback) == Stage.OTHER


def test_a_place_between_two_stages() -> None:
    assert Stage.REORDER < stage_of(AfterReorder()) < Stage.OPERATORS


def test_those_of_one_stage_stay_in_the_order_given() -> None:
    one, other, first = Silent(), LearningRateMonitor(), AfterReorder()
    assert in_order([one, other, first]) == [first, one, other]
    assert in_order([other, first, one]) == [first, other, one]


def test_a_callback_of_an_earlier_stage_comes_first_in_any_order() -> None:
    given = [SimpleNamespace(stage=stage) for stage in Stage]
    for seed in range(5):
        random.Random(seed).shuffle(given)
        placed: list[Any] = in_order(given)  # type: ignore[arg-type]
        assert [callback.stage for callback in placed] == list(Stage)


def test_reasons_are_those_of_callbacks_that_have_one() -> None:
    class Idle(pl.Callback):
        def idle(self, trainer: Any, pl_module: Any) -> str | None:
            return f"{pl_module} has none in {trainer}"

    class Working(pl.Callback):
        def idle(self, trainer: Any, pl_module: Any) -> str | None:
            return None

    callbacks = {"a": Idle(), "b": Working(), "c": Silent()}
    assert idle_reasons(callbacks, "trainer", "net") == {"a": "net has none in trainer"}  # type: ignore[arg-type]


def test_a_callback_that_cannot_say_whether_it_is_idle_is_taken_for_one_that_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Raises(pl.Callback):
        def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
            raise SystemExit(3)

    class OtherAttribute(pl.Callback):
        idle = False

    trainer: Any = SimpleNamespace()
    assert idle_reasons({"raises": Raises(), "other": OtherAttribute()}, trainer, None) == {}
    assert "Raises cannot say whether it is idle (SystemExit: 3)" in caplog.text
