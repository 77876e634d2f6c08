"""Which augmented sub-network each step trains."""

import random
from typing import Any

import lightning.pytorch as pl

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.nets.spec import SubnetSpec, Widening
from shiftaddaug.settings import Seed, Share, checked


class SampleSubnets(pl.Callback):
    """Draw the augmented sub-network from (seed, optimiser step) before each step.

    The draw is a pure function of the two, so that all ranks agree and a resumed run continues the sequence. The
    seed is saved in the checkpoint.

    Args:
        seed: of the draws.
        width_until, expand_until, depth_until: share of the epochs, in [0, 1], after which each kind stops.
            NetAug's code stops width augmentation half-way.
    """

    stage = Stage.SUBNET

    @checked("callbacks.sample_subnets")
    def __init__(
        self, seed: Seed, width_until: Share = 0.5, expand_until: Share = 1.0, depth_until: Share = 1.0
    ) -> None:
        self.seed, self.width_until, self.expand_until, self.depth_until = seed, width_until, expand_until, depth_until

    def spec(self, widening: Widening, step: int, progress: float) -> SubnetSpec | None:
        """The sub-network of this step, `progress` being the share of epochs done; None if there is none to train."""
        width, expand = progress < self.width_until, progress < self.expand_until
        depth = progress < self.depth_until and bool(widening.extra_blocks)
        if not (widening.widens(width, expand) or depth):
            return None
        return widening.sample(random.Random(f"{self.seed}/{step}"), width, expand, depth)

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say why not even the first step has an augmented pass: kinds of augmentation stop, and none begins later."""
        widening = pl_module.net.widening
        if self.spec(widening, 0, 0.0) is not None:
            return None
        if widening.widens() or widening.extra_blocks:
            return "width_until, expand_until and depth_until are 0"
        return "nothing surrounds the target"

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        progress = trainer.current_epoch / max(1, trainer.max_epochs or 1)
        pl_module.augmented_spec = self.spec(pl_module.net.widening, trainer.global_step, progress)

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seed = state_dict["seed"]
