"""timm's schedulers, advanced by a run, set the rates that timm's training script would."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tests.commands.running import composed
from tests.tasks.test_scheduler import EPOCHS, LR, PER_EPOCH, STEPS, configured, rates, weights
from timm.scheduler import create_scheduler_v2

from shiftaddaug.errors import UserError
from shiftaddaug.tasks.optimizers import build_optim
from shiftaddaug.tasks.scheduler import Scheduler
from shiftaddaug.tasks.timm_scheduler import SCHEDULERS

OPTIONS: dict[str, dict[str, Any]] = {
    "step": {"decay_epochs": 2},
    "multistep": {"decay_milestones": [3, 5]},
    "poly": {"decay_rate": 2.0},
}


def as_timm_trains(sched: str, on_epochs: bool, **arguments: Any) -> list[float]:
    """timm's loop: a call after each update, and one after each epoch."""
    optimizer = weights()
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched=sched,
        num_epochs=EPOCHS,
        updates_per_epoch=PER_EPOCH,
        step_on_epochs=on_epochs,
        warmup_epochs=1.0,
        **arguments,
    )
    assert schedule is not None
    found = []
    for epoch in range(EPOCHS):
        for i in range(PER_EPOCH):
            found.append(optimizer.param_groups[0]["lr"])
            schedule.step_update(num_updates=epoch * PER_EPOCH + i + 1)
        schedule.step(epoch + 1)
    return found


@cache
def base() -> DictConfig:
    return composed(Path("/logs/run"), "optim/scheduler=timm")


def scheduler_of(sched: str, on_epochs: bool, **arguments: Any) -> Scheduler:
    """As a run's configuration names it."""
    cfg = base().copy()
    OmegaConf.set_struct(cfg, False)
    cfg.optim.scheduler.update({"sched": sched, "step_on_epochs": on_epochs, **arguments})
    return build_optim(cfg.optim, EPOCHS)[1]


@pytest.mark.parametrize("on_epochs", [False, True])
@pytest.mark.parametrize("sched", SCHEDULERS)
def test_rates(sched: str, on_epochs: bool, tmp_path: Path) -> None:
    """Of a run in one go, and of one that is stopped, stored, and read again."""
    options = OPTIONS.get(sched, {})
    scheduler = scheduler_of(sched, on_epochs, **options)
    wanted = as_timm_trains(sched, on_epochs, **options)
    assert rates(scheduler) == wanted
    assert 0 < min(wanted) < LR / 2 < max(wanted) <= LR
    assert len(set(wanted)) > 1

    optimizer, stopped = weights(), 2 * PER_EPOCH
    schedule = scheduler(optimizer, STEPS, EPOCHS)
    for _ in range(stopped):
        optimizer.step()
        schedule.step()
    torch.save([optimizer.state_dict(), schedule.state_dict()], tmp_path / "state")
    of_optimizer, of_schedule = torch.load(tmp_path / "state", weights_only=True)

    optimizer = weights()
    schedule = scheduler(optimizer, STEPS, EPOCHS)
    optimizer.load_state_dict(of_optimizer)
    schedule.load_state_dict(of_schedule)
    for step in range(stopped, STEPS):
        assert optimizer.param_groups[0]["lr"] == wanted[step]
        optimizer.step()
        schedule.step()


def test_what_timm_does_not_have_is_refused() -> None:
    with pytest.raises(UserError, match=r"^optim\.scheduler\.sched=plateau: no such option; options: cosine, tanh, "):
        configured("optim/scheduler=timm", "optim.scheduler.sched=plateau")
    with pytest.raises(UserError, match=r"^optim\.scheduler\.cycles=2: no such argument of timm.*; options: sched, "):
        configured("optim/scheduler=timm", "+optim.scheduler.cycles=2")
