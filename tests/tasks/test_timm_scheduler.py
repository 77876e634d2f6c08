"""timm's schedulers, advanced by a run, set the rates that timm's training script would."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tasks.test_scheduler import EPOCHS, LR, PER_EPOCH, STEPS, configured, rates, weights
from timm.scheduler import create_scheduler_v2

from shiftaddaug.errors import UserError
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


def overrides(sched: str, on_epochs: bool, **arguments: Any) -> list[str]:
    more = [f"+optim.scheduler.{key}={value}" for key, value in arguments.items()]
    name = f"optim.scheduler.sched={sched}"
    return ["optim/scheduler=timm", name, f"optim.scheduler.step_on_epochs={on_epochs}".lower(), *more]


@pytest.mark.parametrize("on_epochs", [False, True])
@pytest.mark.parametrize("sched", SCHEDULERS)
def test_rates(sched: str, on_epochs: bool) -> None:
    options = OPTIONS.get(sched, {})
    found = rates(configured(*overrides(sched, on_epochs, **options)))
    assert found == as_timm_trains(sched, on_epochs, **options)
    assert 0 < min(found) < LR / 2 < max(found) <= LR
    assert len(set(found)) > 1


@pytest.mark.parametrize("on_epochs", [False, True])
@pytest.mark.parametrize("sched", SCHEDULERS)
def test_stored_and_read_again_the_rates_are_the_same(sched: str, on_epochs: bool, tmp_path: Path) -> None:
    scheduler = configured(*overrides(sched, on_epochs, **OPTIONS.get(sched, {})))
    wanted = rates(scheduler)
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
