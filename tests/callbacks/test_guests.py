"""Which callback has failed: told by its key for those of others, left to a traceback for the package's own."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint

from shiftaddaug.callbacks.checkpoint import LastCheckpoint
from shiftaddaug.callbacks.guests import before_on_exception, failed_guest


class Fails(pl.Callback):
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look_up()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        raise OSError(28, "No space left on device", "notes.txt")

    def _look_up(self) -> None:
        raise KeyError("speed")


def raised(do: Callable[[], Any]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # what it is is asked below
        do()
    return caught.value


def call(callback: Any, hook: str, *arguments: Any) -> None:
    """Call a hook as Lightning does: a function set as a hook has no `self`."""
    getattr(callback, hook)(None, None, *arguments)


def test_key_hook_and_place_are_told() -> None:
    mine = Fails()
    error = raised(lambda: call(mine, "on_train_start"))
    said = failed_guest(error, {"other": Fails(), "mine": mine})
    assert said is not None
    assert said.startswith("callbacks.mine: failed in on_train_start at tests/callbacks/test_guests.py:")
    assert said.endswith("(KeyError: 'speed')")


def test_lightnings_need_no_place() -> None:
    checkpoint = ModelCheckpoint()
    said = failed_guest(raised(lambda: checkpoint.on_train_epoch_end(None, None)), {"mine": checkpoint})  # type: ignore[arg-type]
    assert said is not None
    assert said.startswith("callbacks.mine: failed in on_train_epoch_end (AttributeError: ")


def test_a_function_that_is_a_hook_is_its_callbacks() -> None:
    mine = LambdaCallback(on_fit_start=lambda *_: 1 / 0)  # type: ignore[arg-type,return-value]
    said = failed_guest(raised(lambda: call(mine, "on_fit_start")), {"mine": mine})
    assert said is not None
    assert said.startswith("callbacks.mine: failed in call (ZeroDivisionError")


def test_neither_the_package_nor_anyone_else_is_a_guest() -> None:
    own = LastCheckpoint("folder")
    error = raised(lambda: own.on_train_epoch_end(None, None))  # type: ignore[arg-type]
    assert failed_guest(error, {"last": own}) is None
    assert failed_guest(raised(lambda: 1 / 0), {"mine": Fails()}) is None


def test_the_error_that_guests_are_told_of_is_not_hidden_by_theirs() -> None:
    mine, first = Fails(), ValueError("first")

    def end() -> None:
        try:
            raise first
        except ValueError as error:
            call(mine, "on_exception", error)

    hidden = raised(end)
    assert before_on_exception(hidden, {"mine": mine}) is first
    assert before_on_exception(first, {"mine": mine}) is first
    assert (said := failed_guest(hidden, {"mine": mine})) is not None
    assert said.endswith("(No space left on device: notes.txt)")
