"""Schedules as they are configured: rates against closed forms, quantities of the run, arguments."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands.running import composed
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR

from shiftaddaug.errors import UserError
from shiftaddaug.tasks.optimizers import build_optim
from shiftaddaug.tasks.run_length import RunLength
from shiftaddaug.tasks.schedule import step_decay
from shiftaddaug.tasks.scheduler import Lengthened, Scheduler

LR, EPOCHS, PER_EPOCH = 0.1, 8, 5
STEPS = EPOCHS * PER_EPOCH


def weights(lr: float = LR) -> torch.optim.Optimizer:
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    return torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=lr, momentum=0.9)


def rates(scheduler: Scheduler, optimizer: torch.optim.Optimizer | None = None) -> list[float]:
    """The learning rate of every step of a run."""
    optimizer = optimizer or weights()
    schedule = scheduler(optimizer, STEPS, EPOCHS)
    found = []
    for _ in range(STEPS):
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert first == second
        found.append(first)
        optimizer.step()
        schedule.step()
    return found


def configured(*overrides: str) -> Scheduler:
    return build_optim(composed(Path("/logs/run"), *overrides).optim, EPOCHS)[1]


def cosine(share: float, top: float, bottom: float) -> float:
    return bottom + (top - bottom) * (1 + math.cos(math.pi * share)) / 2


def warmed(step: int, after: Callable[[float], float], warmup: int = PER_EPOCH) -> float:
    """Linear over an epoch, then a function of the share of what remains."""
    return LR * (step + 1) / warmup if step < warmup else after((step - warmup) / (STEPS - warmup))


def onecycle(step: int) -> float:
    """Up over 30 % of the steps but one, then down."""
    peak, end = 0.3 * STEPS - 1, STEPS - 1
    if step <= peak:
        return cosine(step / peak, LR / 25, LR)
    return cosine((step - peak) / (end - peak), LR, LR / 25 / 1e4)


CLOSED_FORMS: list[tuple[tuple[str, ...], Callable[[int], float]]] = [
    ((), lambda t: warmed(t, lambda share: cosine(share, LR, 0))),
    (("optim.min_lr=0.02",), lambda t: warmed(t, lambda share: cosine(share, LR, 0.02))),
    (("optim/scheduler=constant",), lambda t: warmed(t, lambda share: LR)),
    (
        ("optim/scheduler=step", "optim.scheduler.milestones=[0.25,0.5]", "optim.scheduler.gamma=0.3"),
        lambda t: warmed(t, lambda _: LR * (1 if t < 10 else 0.3 if t < 20 else 0.09)),
    ),
    (
        ("optim/scheduler=polynomial", "optim.scheduler.power=2", "optim.min_lr=0.01"),
        lambda t: warmed(t, lambda share: 0.01 + 0.09 * (1 - share) ** 2),
    ),
    (("optim/scheduler=onecycle",), onecycle),
    (("optim/scheduler=exponential", "optim.scheduler.gamma=0.9"), lambda t: LR * 0.9 ** (t // PER_EPOCH)),
    # AdderNet's: 0.05 (1 + cos(pi epoch / epochs))
    (
        ("optim.scheduler.interval=epoch", "optim.warmup_epochs=0"),
        lambda t: 0.05 * (1 + math.cos(math.pi * (t // PER_EPOCH) / EPOCHS)),
    ),
    (
        ("optim.scheduler.interval=epoch", "optim.warmup_epochs=2"),
        lambda t: [LR / 2, LR][t // 5] if t < 10 else cosine((t // 5 - 2) / (EPOCHS - 2), LR, 0),
    ),
]


@pytest.mark.parametrize(("overrides", "wanted"), CLOSED_FORMS, ids=[" ".join(o) or "default" for o, _ in CLOSED_FORMS])
def test_every_rate_of_a_run(overrides: tuple[str, ...], wanted: Callable[[int], float], tmp_path: Path) -> None:
    """And what of it a checkpoint stores: no code, which nobody would execute."""
    scheduler = configured(*overrides)
    assert rates(scheduler) == pytest.approx([wanted(t) for t in range(STEPS)], rel=1e-9, abs=1e-12)
    schedule = scheduler(weights(), STEPS, EPOCHS)
    torch.save(schedule.state_dict(), tmp_path / "state")
    assert torch.load(tmp_path / "state", weights_only=True) == schedule.state_dict()


RECURSIVE = (
    *("optim/scheduler=exponential", "~optim.scheduler.gamma", "+optim.scheduler.T_max=run.epochs"),
    "optim.scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR",
)
"""Each rate is computed from the one before it."""


@pytest.mark.parametrize(
    "overrides",
    [(), ("optim.scheduler.interval=epoch",), RECURSIVE]
    + [(f"optim/scheduler={name}",) for name in ("constant", "exponential", "onecycle", "polynomial", "step", "timm")],
    ids=str,
)
def test_a_run_that_is_trained_further_has_the_rates_of_a_longer_one(overrides: tuple[str, ...]) -> None:
    """From its first step on: the checkpoint holds the last rate of the shorter run, 0 for a cosine."""
    scheduler, done = configured(*overrides), STEPS // 2
    short, long = weights(), weights()
    shorter = scheduler(short, done, EPOCHS // 2)
    for _ in range(done):
        short.step()
        shorter.step()
    schedule = Lengthened(scheduler(long, STEPS, EPOCHS), lambda: scheduler(weights(), STEPS, EPOCHS), lambda: done)
    long.load_state_dict(short.state_dict())
    schedule.load_state_dict(shorter.state_dict())
    whole = weights()
    expected = scheduler(whole, STEPS, EPOCHS)
    for step in range(STEPS):
        if step >= done:
            for ours, theirs in zip(long.param_groups, whole.param_groups, strict=True):
                assert (ours["lr"], ours["momentum"]) == pytest.approx((theirs["lr"], theirs["momentum"]), abs=1e-15)
            long.step()
            schedule.step()
        whole.step()
        expected.step()
    assert schedule.state_dict() == expected.state_dict()


def test_a_scheduler_of_torch_takes_what_it_asks_of_the_run() -> None:
    found = rates(Scheduler(partial(CosineAnnealingLR, T_max="run.total_steps")))
    assert found == pytest.approx([cosine(t / STEPS, LR, 0) for t in range(STEPS)])
    found = rates(Scheduler(partial(CosineAnnealingLR, T_max="run.epochs"), "epoch"))
    assert found == pytest.approx([cosine(t // PER_EPOCH / EPOCHS, LR, 0) for t in range(STEPS)])


def test_quantities_are_counted_in_the_schedules_steps() -> None:
    assert RunLength.in_steps(40, 8, 1.5) == RunLength(total_steps=40, steps_per_epoch=5, epochs=8, warmup_steps=8)
    assert RunLength.in_epochs(8, 2.0) == RunLength(total_steps=8, steps_per_epoch=1, epochs=8, warmup_steps=2)
    assert RunLength.in_steps(1, 1, 0) == RunLength(1, 1, 1, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(ExponentialLR, gama=0.9),
            r"^optim\.scheduler\.gama=0\.9: no such argument of ExponentialLR; options: ",
        ),
        (partial(ExponentialLR, gamma="fast"), r"^optim\.scheduler\.gamma=fast: must be a number"),
        (
            partial(CosineAnnealingLR, T_max="run.steps"),
            r"T_max=run\.steps: no such quantity; options: run\.total_steps",
        ),
        (
            partial(step_decay, total_steps=9, milestones=[1]),
            r"milestones=\[1\]: must be a list of numbers > 0 and < 1",
        ),
        (partial(step_decay, total_steps=9, milestones=[], gamma=0), r"gamma=0: must be a number > 0"),
    ],
)
def test_arguments_that_cannot_be(make: "partial[Any]", message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scheduler(make)(weights(), STEPS, EPOCHS)
