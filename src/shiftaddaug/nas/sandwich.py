"""Which sub-networks of a searched supernet each step trains."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import numpy as np

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.nas.settings import SpaceSettings, check_space
from shiftaddaug.nas.space import Choices
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.settings import Count, PositiveInt, Seed, checked


class SampleSandwich(pl.Callback):
    """Draw the sub-networks that a step trains beside the largest: the smallest, and some at random (sandwich rule).

    The draw is a pure function of (seed, optimiser step), so that all ranks agree and a resumed run continues the
    sequence. Source: BigNAS (arXiv 2003.11142, section 3.1); once-for-all (arXiv 1908.09791) draws at random alone.

    Args:
        seed: of the draws.
        space: what is drawn from, as a yaml of configs/space; its operators are those that the supernet trains.
        divisor: of widths.
        sandwich: whether the smallest network trains at every step.
        random_subnets: how many are drawn besides.
    """

    stage = Stage.SUBNET

    @checked("callbacks.sample_subnets")
    def __init__(
        self, seed: Seed, space: dict[str, Any], divisor: PositiveInt, sandwich: bool = True, random_subnets: Count = 2
    ) -> None:
        self.seed, self.divisor = seed, divisor
        self.sandwich, self.random_subnets = sandwich, random_subnets
        self.space: SpaceSettings = check_space(space)
        self._choices: Choices | None = None

    def choices(self, plan: Plan) -> Choices:
        """Return what may be chosen inside of a plan."""
        if self._choices is None or self._choices.plan is not plan:
            self._choices = Choices(plan, self.space, self.divisor)
        return self._choices

    def specs(self, plan: Plan, step: int) -> list[SubnetSpec]:
        """Return the sub-networks of a step, the largest first; all layers have the same operators in each.

        All but the first normalise with the statistics of the batch.
        """
        choices = self.choices(plan)
        generator = np.random.default_rng(random.Random(f"{self.seed}/{step}").getrandbits(64))
        drawn = choices.draw(generator, 1 + self.random_subnets)
        operators = {name: option for name, option in drawn[0].items() if name.startswith("operator.")}
        points: list[Mapping[str, Any]] = [choices.largest(), *drawn[1:]]
        if self.sandwich:
            points.insert(1, choices.smallest())
        specs = [choices.spec({**point, **operators}) for point in points]
        return [specs[0], *(replace(spec, augmented=True) for spec in specs[1:])]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pl_module.specs = self.specs(pl_module.net.plan, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seed = state_dict["seed"]
