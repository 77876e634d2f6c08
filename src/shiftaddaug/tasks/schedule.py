"""Schedules of the learning rate: factors on the base rate as functions of the step, and torch schedulers of them.

A scheduler takes the optimiser first. The others of its arguments are the keys of its yaml in configs/optim/scheduler/.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from shiftaddaug.errors import UserError
from shiftaddaug.settings import InnerShare, PositiveNumber, checked


def warmup_cosine(step: int, total_steps: int, warmup_steps: int = 0, floor: float = 0.0) -> float:
    """Factor on the base learning rate: linear from 1 / warmup_steps to 1, then half a cosine down to `floor`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_polynomial(
    step: int, total_steps: int, warmup_steps: int = 0, floor: float = 0.0, power: float = 1.0
) -> float:
    """Factor on the base learning rate: the same warm-up, then (1 - progress)^power down to `floor`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return floor + (1 - floor) * (1 - progress) ** power


def warmup_steps_down(step: int, milestones: Sequence[int], gamma: float, warmup_steps: int = 0) -> float:
    """Factor on the base learning rate: the same warm-up, then gamma to the number of milestones reached."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return float(gamma ** sum(step >= milestone for milestone in milestones))


def cosine(optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, min_lr: float = 0.0) -> LambdaLR:
    """Schedule `warmup_cosine` down to `min_lr`.

    Raises:
        UserError: `min_lr` is not below the base learning rate.
    """
    return _by_factor(
        optimizer,
        partial(warmup_cosine, total_steps=total_steps, warmup_steps=warmup_steps, floor=_floor(optimizer, min_lr)),
    )


@checked("optim.scheduler")
def polynomial(
    optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, min_lr: float = 0.0, power: PositiveNumber = 1.0
) -> LambdaLR:
    """Schedule `warmup_polynomial` down to `min_lr`.

    Raises:
        UserError: `power` is not positive, or `min_lr` is not below the base learning rate.
    """
    floor = _floor(optimizer, min_lr)
    factor = partial(warmup_polynomial, total_steps=total_steps, warmup_steps=warmup_steps, floor=floor, power=power)
    return _by_factor(optimizer, factor)


def constant(optimizer: Optimizer, warmup_steps: int = 0) -> LambdaLR:
    """Schedule the warm-up alone."""
    return _by_factor(optimizer, partial(warmup_steps_down, milestones=(), gamma=1.0, warmup_steps=warmup_steps))


@checked("optim.scheduler")
def step_decay(
    optimizer: Optimizer,
    total_steps: int,
    milestones: Sequence[InnerShare],
    gamma: PositiveNumber = 0.1,
    warmup_steps: int = 0,
) -> LambdaLR:
    """Schedule `warmup_steps_down` at milestones that are shares of the run.

    Raises:
        UserError: a milestone outside the run, or `gamma` is not positive.
    """
    steps = [round(milestone * total_steps) for milestone in milestones]
    factor = partial(warmup_steps_down, milestones=steps, gamma=gamma, warmup_steps=warmup_steps)
    return _by_factor(optimizer, factor)


def _floor(optimizer: Optimizer, min_lr: float) -> float:
    lr = optimizer.param_groups[0]["lr"]
    if not 0 <= min_lr < lr:
        raise UserError(f"optim.scheduler.min_lr={min_lr}: must be a number >= 0 and below optim.lr={lr}")
    return float(min_lr / lr)


def _by_factor(optimizer: Optimizer, factor: Callable[[int], float]) -> LambdaLR:
    """Use a function and no callable object: LambdaLR would store what is in the latter in checkpoints."""
    return LambdaLR(optimizer, lambda step: factor(step))
