"""Samplers of a study: those of Optuna's, drawn by a seed for each trial, and a grid that several processes walk."""

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler, QMCSampler
from optuna.trial import TrialState

from shiftaddaug.errors import UserError
from shiftaddaug.search.space import grid_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

LARGEST_GRID = 100_000
"""Combinations of a grid that are listed."""
CLAIM = "combination"
"""Attribute of a trial: which combination of the grid it tries."""


def build_sampler(options: Mapping[str, Any], space: "Mapping[str, BaseDistribution]") -> BaseSampler:
    """Build the sampler of a study.

    Args:
        options: keys of `hydra.sweeper.sampler`: the class, and its arguments.
        space: what is searched.

    Raises:
        UserError: it cannot be built.
    """
    arguments = {str(key): value for key, value in options.items()}
    target = str(arguments.pop("_target_", None))
    try:
        kind: Any = get_class(target)
        if kind is CmaEsSampler and find_spec("cmaes") is None:  # Optuna would say so after the first trial
            raise UserError(f"hydra.sweeper.sampler={target}: needs cmaes; pip install 'shiftaddaug[cmaes]'")
        if kind is GridSampler:
            return Grid(space, **arguments)
        seed = arguments.pop("seed", None)
        if seed is None or issubclass(kind, QMCSampler):  # its sequence follows from one seed, and goes on by itself
            return kind(**arguments) if seed is None else kind(**arguments, seed=seed)
        return SeededByTrial(lambda own: kind(**arguments, seed=own), int(seed))
    except UserError:
        raise
    except Exception as error:  # whatever a sampler's author thought of
        raise UserError(f"hydra.sweeper.sampler={target}: {' '.join(str(error).split())[:200]}") from error


class SeededByTrial(BaseSampler):
    """A sampler that draws each trial by its own seed, which follows from the given one and the trial's number.

    A second call, or another worker, then draws other trials; the same study is drawn alike when it is run again.

    Args:
        make: builds the sampler by a seed.
        seed: of the study.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: "Study", trial: "FrozenTrial") -> None:
        """Make the sampler of this trial (Optuna's hook)."""
        self._sampler = self._make(random.Random(f"{self._seed} {trial.number}").randrange(2**32))
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: "Study", trial: "FrozenTrial", state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Learn of a trial (Optuna's hook)."""
        self._sampler.after_trial(study, trial, state, values)

    def infer_relative_search_space(self, study: "Study", trial: "FrozenTrial") -> dict[str, "BaseDistribution"]:
        """Return what is drawn together (Optuna's hook)."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: "Study", trial: "FrozenTrial", search_space: "dict[str, BaseDistribution]"
    ) -> dict[str, Any]:
        """Draw what is drawn together (Optuna's hook)."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: "Study", trial: "FrozenTrial", param_name: str, param_distribution: "BaseDistribution"
    ) -> Any:
        """Draw a value by itself (Optuna's hook)."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


class Grid(BaseSampler):
    """Every combination of the values once, in a shuffled order.

    NOTE: Optuna's own grid repeats a combination in each call after the last, and stumbles over trials that are tried
    again (5.0).

    Args:
        space: without intervals.
        seed: of the order; None is 0. Workers of one study need the same.

    Raises:
        UserError: an interval, or more combinations than are listed.
    """

    def __init__(self, space: "Mapping[str, BaseDistribution]", seed: int | None = None) -> None:
        values = grid_of(dict(space))
        count = math.prod(len(each) for each in values.values())
        if count > LARGEST_GRID:
            raise UserError(
                f"hydra/sweeper/sampler=grid: {count} combinations; options: at most {LARGEST_GRID}, random"
            )
        self._combinations = [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]
        self._order = random.Random(seed or 0).sample(range(count), count)

    def left(self, study: "Study") -> int:
        """Return how many combinations nobody has tried, tries or is going to try again."""
        return len(self._free(study))

    def _free(self, study: "Study") -> list[int]:
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)  # a pruner may show a part of the study
        taken = {trial.system_attrs.get(CLAIM) for trial in trials if not self._is_void(trial)}
        return [i for i in self._order if i not in taken]

    def _is_void(self, trial: "FrozenTrial") -> bool:
        """Whether a trial was killed before it had all its values."""
        return trial.state == TrialState.FAIL and len(trial.params) < len(self._combinations[0])

    def before_trial(self, study: "Study", trial: "FrozenTrial") -> None:
        """Claim a combination (Optuna's hook). Trials that are tried again have their values already."""
        if "fixed_params" in trial.system_attrs:
            return
        free = self._free(study) or self._order
        own = self._order[trial.number % len(self._order)]  # two workers that ask at once have different numbers
        choice = own if own in free else free[trial.number % len(free)]
        study._storage.set_trial_system_attr(trial._trial_id, CLAIM, choice)

    def infer_relative_search_space(self, study: "Study", trial: "FrozenTrial") -> dict[str, "BaseDistribution"]:
        """Return nothing: values are told one by one (Optuna's hook)."""
        return {}

    def sample_relative(
        self, study: "Study", trial: "FrozenTrial", search_space: "dict[str, BaseDistribution]"
    ) -> dict[str, Any]:
        """Return nothing: values are told one by one (Optuna's hook)."""
        return {}

    def sample_independent(
        self, study: "Study", trial: "FrozenTrial", param_name: str, param_distribution: "BaseDistribution"
    ) -> Any:
        """Return the value of the claimed combination (Optuna's hook)."""
        attributes = study._storage.get_trial_system_attrs(trial._trial_id)
        return self._combinations[attributes[CLAIM]][param_name]
