"""Keeping the stored scale, in real training: it changes nothing but what a reorder sees."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import pytest
import torch
from tests.build import REMAPS, assert_same_state
from tests.callbacks.training import fit
from tests.callbacks.training import make_task as make_shift_task
from tests.tasks.little import NESTEROV, quiet_trainer

from shiftaddaug.callbacks.block_variant import BlockVariant
from shiftaddaug.callbacks.ema import WarmedUpEMA
from shiftaddaug.callbacks.reorder import ReorderChannels
from shiftaddaug.callbacks.stored_scale import KeepStoredScale
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.nets.extract import extract_target
from shiftaddaug.nets.stored_scale import scale_factors
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.tasks.training import Training


def make_task(optimizer: Any = NESTEROV, gradient: Literal["inverse", "chain"] = "inverse") -> Training:
    return make_shift_task("add", sharing=Sharing(REMAPS["add"], gradient), optimizer=optimizer)


def equal(one: Supernet, other: Supernet) -> bool:
    ours, theirs = extract_target(one).net.state_dict(), extract_target(other).net.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_training_is_the_same_to_the_bit_and_the_scale_is_kept(tmp_path: Path) -> None:
    kept, plain = make_task(), make_task()
    fit(tmp_path / "kept", kept, KeepStoredScale(16.0))
    fit(tmp_path / "plain", plain)
    assert equal(kept.net, plain.net)
    assert all(0.1 < factor < 10 for factor in scale_factors(kept.net, 16.0).values())  # of the last epoch's steps
    assert max(scale_factors(plain.net, 16.0).values()) >= 4


def test_the_deployed_average_is_the_same_too(tmp_path: Path) -> None:
    kept, plain = make_task(), make_task()
    fit(tmp_path / "kept", kept, WarmedUpEMA(0.5), KeepStoredScale(16.0))
    fit(tmp_path / "plain", plain, WarmedUpEMA(0.5))
    assert equal(kept.net, plain.net)


def test_a_reorder_sees_it(tmp_path: Path) -> None:
    tasks = [make_task(), make_task()]
    for task, ratio in zip(tasks, (0.1, 64.0), strict=True):
        fit(tmp_path / str(ratio), task, KeepStoredScale(ratio), ReorderChannels())
    assert not equal(tasks[0].net, tasks[1].net)


@pytest.mark.parametrize("blend", [None, False, True])
def test_resuming_ends_alike(tmp_path: Path, blend: bool | None) -> None:
    """While layers turn, too: the scale of those that multiply is none of this callback's business."""

    def callbacks() -> list[pl.Callback]:
        turning = [] if blend is None else [BlockVariant(0.0, 1.0, blend=blend)]
        return [*turning, KeepStoredScale(1.0), ReorderChannels()]

    whole, resumed = make_task(), make_task()
    fit(tmp_path / "whole", whole, *callbacks())
    fit(tmp_path / "again", resumed, *callbacks(), resume=tmp_path / "whole" / "epoch=1.ckpt")
    assert_same_state(whole.net, resumed.net)


@pytest.mark.parametrize("callback", [KeepStoredScale(None), KeepStoredScale(16.0)])
def test_off_or_with_adam_nothing_is_touched(tmp_path: Path, callback: KeepStoredScale) -> None:
    optimizer = NESTEROV if callback.ratio is None else partial(torch.optim.Adam, lr=0.01)
    watched, plain = make_task(optimizer), make_task(optimizer)
    fit(tmp_path / "watched", watched, callback)
    fit(tmp_path / "plain", plain)
    assert_same_state(plain.net, watched.net)


@pytest.mark.parametrize(
    ("ratio", "scale_free", "epochs", "reason"),
    [
        (4.0, True, 2, None),
        (None, True, 2, "no ratio is given"),
        (4.0, False, 2, "the stored scale of every layer means something"),
        (4.0, True, 1, "scales are brought back between epochs and trainer.max_epochs=1"),
    ],
)
def test_it_is_idle_where_no_scale_is_kept(
    ratio: float | None, scale_free: bool, epochs: int, reason: str | None
) -> None:
    task = make_task(gradient="inverse" if scale_free else "chain")
    assert KeepStoredScale(ratio).idle(quiet_trainer(max_epochs=epochs), task) == reason


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"callbacks\.stored_scale\.ratio=0: must be a number >= 1e-06 .* or null"):
        KeepStoredScale(0)
