"""timm's schedulers as torch's: advanced after every optimiser step, saved in the checkpoint."""

from typing import Any

from torch.optim import Optimizer

from shiftaddaug.errors import UserError
from shiftaddaug.tasks.scheduler import check_arguments

SCHEDULERS = ("cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "constant")
"""Names without plateau, which waits for a metric. The last three are not in every timm 1.x."""


class TimmScheduler:
    """Tell a timm scheduler of every update and of every epoch's end, as timm's training script does.

    Args:
        scheduler: of timm.
        optimizer: whose learning rates it sets.
        updates_per_epoch: optimiser steps.
    """

    def __init__(self, scheduler: Any, optimizer: Optimizer, updates_per_epoch: int) -> None:
        self.scheduler, self.optimizer, self.updates_per_epoch = scheduler, optimizer, updates_per_epoch
        self.updates = 0

    def step(self) -> None:
        """Step after an update, and not before the first one: timm sets the first rate when it is made."""
        self.updates += 1
        self.scheduler.step_update(num_updates=self.updates)
        if self.updates % self.updates_per_epoch == 0:
            self.scheduler.step(epoch=self.updates // self.updates_per_epoch)

    def state_dict(self) -> dict[str, Any]:
        """State of the count and of the scheduler, for the checkpoint."""
        return {"updates": self.updates, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.updates = state_dict["updates"]
        self.scheduler.load_state_dict(state_dict["scheduler"])


def timm_scheduler(optimizer: Optimizer, sched: str, updates_per_epoch: int, **arguments: Any) -> TimmScheduler:
    """Make the timm scheduler of that name.

    Args:
        optimizer: whose learning rates it sets.
        sched: its name.
        updates_per_epoch: optimiser steps.
        arguments: more of `timm.scheduler.create_scheduler_v2`.

    Raises:
        UserError: no such scheduler, or an argument that timm does not take.
    """
    from timm.scheduler import create_scheduler_v2

    if sched not in SCHEDULERS:
        raise UserError(f"optim.scheduler.sched={sched}: no such option; options: {', '.join(SCHEDULERS)}")
    given = {"sched": sched, "updates_per_epoch": updates_per_epoch, **arguments}
    check_arguments(create_scheduler_v2, given, "timm.scheduler.create_scheduler_v2")
    made, _ = create_scheduler_v2(optimizer, **given)
    if made is None:
        raise UserError(f"optim.scheduler.sched={sched}: the installed timm does not have it")
    return TimmScheduler(made, optimizer, updates_per_epoch)
