"""Evolution of networks inside a search space: Optuna's NSGA-II over a study, under hard limits.

Networks beyond a limit are priced and not scored. Every one is kept. What is drawn next follows from the study and the
seed alone: a search that was killed goes on as if it had not been. Several processes may share a study.
"""

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.candidates import Pricer
from shiftaddaug.nas.settings import MethodSettings
from shiftaddaug.nas.space import Choices, Point
from shiftaddaug.runs.study_storage import answering_storage, open_storage, warn_of_password
from shiftaddaug.runs.study_storage import shown as shown_address
from shiftaddaug.search.heartbeat import beat, beating, dead_trials
from shiftaddaug.search.limits import Limits, cheapest, drawn_within, refuse_unreachable
from shiftaddaug.seeding import derive_seed
from shiftaddaug.settings import shown

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)

COSTS, SCORED, AS, SEARCH = "costs", "scored", "as", "search"
"""Attributes of a trial: what it costs, whether it was scored, and the same network's trial, if it was scored before;
and of a study: what is searched."""
COUNTED = ("macs", "params")
"""Costs that are whole numbers."""
UNSCORED = 200
"""Networks that may be drawn in vain, one after the other, beyond the limits or scored before; then the search ends."""
HEARTBEAT_SECONDS = 60.0
SAID = 20
"""Lines that tell how far the search is."""


class Evolution:
    """A search for the network that scores best, and the ones that are best for what they cost.

    Args:
        choices: what may be chosen.
        pricer: of the networks.
        limits: that they keep.
        cost: name of the cost that is minimised beside the score.
        better: whether the score is best at its `max` or `min`.
        method: how it is searched.
        seed: all randomness comes from it.
        storage: address of the study; None keeps it in memory.
        name: of the study.
        searched: what is searched, as plain containers: a study of something else is refused.

    Raises:
        UserError: limits that nothing keeps; a study that cannot be opened, or of something else.
    """

    def __init__(
        self,
        choices: Choices,
        pricer: Pricer,
        limits: Limits,
        cost: str,
        better: str,
        method: MethodSettings,
        seed: int,
        storage: str | None,
        name: str,
        searched: Mapping[str, Any],
    ) -> None:
        self.choices, self.pricer, self.limits, self.cost = choices, pricer, limits, cost
        self.better, self.method, self.seed = better, method, seed
        refuse_unreachable(choices, pricer, limits)
        self.study = self._opened(storage, name, json.loads(json.dumps(searched)))

    def _opened(self, storage: str | None, name: str, searched: Any) -> "Study":
        import optuna
        from optuna.exceptions import ExperimentalWarning

        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        opened, where = open_storage(storage, "search.storage"), shown_address(storage or "memory")
        directions: list[Any] = [f"{self.better}imize", "minimize"]
        warn_of_password(storage)
        with answering_storage(where, "search.storage"):
            study = optuna.create_study(storage=opened, study_name=name, directions=directions, load_if_exists=True)
        theirs = study.user_attrs.get(SEARCH)
        if theirs is None and study.get_trials(deepcopy=False):
            raise UserError(f"search.storage={where}: study {name} is no architecture search; options: another name")
        if theirs is None:
            study.set_user_attr(SEARCH, searched)
        elif theirs != searched:
            key = next(key for key in {**searched, **theirs} if searched.get(key) != theirs.get(key))
            raise UserError(
                f"search.storage={where}: study {name} searches something else: its {key} is "
                f"{shown(theirs.get(key))}, and here {shown(searched.get(key))}; options: another search.study_name"
            )
        return study

    def scored(self) -> "list[FrozenTrial]":
        """Return the trials that were scored, in order, each network once."""
        return [trial for trial in self.priced() if trial.user_attrs[SCORED]]

    def priced(self) -> "list[FrozenTrial]":
        """Return the trials that are done, in order, each network once: those that were scored, and those beyond the
        limits."""
        from optuna.trial import TrialState

        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in done if AS not in trial.user_attrs]

    def run(self, score: Callable[[Point], float]) -> None:
        """Score networks until there are as many as there shall be.

        Args:
            score: of a point.

        Raises:
            UserError: no network within the limits was found.
        """
        self._begin()
        for trial in self._dead():
            self._tell(trial, score)
        unscored = 0
        while (count := len(self.scored())) < self.method.evaluations and unscored < UNSCORED:
            unscored = 0 if self._tell(self._asked(), score) else unscored + 1
            if not unscored and (count + 1) % max(1, self.method.evaluations // SAID) == 0:
                best = self.best().values
                log.info(
                    "%d of %d networks: best score %.4g, %s %.4g",
                    count + 1,
                    self.method.evaluations,
                    best[0],
                    self.cost,
                    best[1],
                )
        if unscored == UNSCORED and self.scored():
            log.warning(
                "the search ends at %d of %d networks: %d in a row were beyond the limits, or scored before",
                len(self.scored()),
                self.method.evaluations,
                unscored,
            )
        if not self.scored():
            raise UserError(self._none_keeps_them())

    def _none_keeps_them(self) -> str:
        """Say which limit the network breaks that comes nearest to keeping all of them."""
        priced = [trial.user_attrs[COSTS] for trial in self.priced()]
        nearest = min(priced, key=lambda costs: max(self.limits.excess(costs)))
        excess = dict(zip(self.limits.most, self.limits.excess(nearest), strict=True))
        name = max(excess, key=lambda each: excess[each])
        return (
            f"{self.limits.key}: none of {len(priced)} networks keeps all of them together; the nearest breaks "
            f"{self.limits.named(name)}={self.limits.most[name]:g} with {nearest[name]:.4g}; options: larger limits"
        )

    def _generator(self, *names: int | str) -> np.random.Generator:
        return np.random.default_rng(derive_seed("evolution", self.seed, *names))

    def _begin(self) -> None:
        """Put networks that keep the limits in line, of which the first generation is made."""
        if self.study.get_trials(deepcopy=False):
            return
        count = self.method.population if self.method.sampler == "nsga2" else self.method.evaluations
        count = min(count, self.method.evaluations)
        points = drawn_within(self.choices, self.pricer, self.limits, self._generator("begin"), count)
        for point in points or [cheapest(self.choices, self.pricer, self.cost)]:
            self.study.enqueue_trial(self._chosen(point))

    def _dead(self) -> "list[Trial]":
        """Return trials whose process is gone: they go on where they were, those that were being made, too."""
        import optuna

        found = []
        for dead in dead_trials(self.study, HEARTBEAT_SECONDS):
            with suppress(RuntimeError, ValueError):  # another process was faster
                self._seed_sampler([each for each in self._begun() if each.number < dead.number])
                trial = optuna.trial.Trial(self.study, dead._trial_id)
                beat(trial)
                found.append(self._made(trial))
        return found

    def _chosen(self, point: Point) -> dict[str, Any]:
        return {name: value for name, value in point.items() if len(self.choices.parameters[name]) > 1}

    def _asked(self) -> "Trial":
        """Return the next trial."""
        self._seed_sampler(self._begun())
        trial = self.study.ask()
        beat(trial)  # before it is made, which takes a while: many choices are written, one by one
        return self._made(trial)

    def _begun(self) -> "list[FrozenTrial]":
        """Return the trials that are done, or in work."""
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))

    def _seed_sampler(self, before: "Sequence[FrozenTrial]") -> None:
        """Make what a sampler draws for a trial follow from the seed and from how many were begun before it."""
        import optuna

        seed = derive_seed("evolution", self.seed, len(before))
        if self.method.sampler == "random":
            self.study.sampler = optuna.samplers.RandomSampler(seed=seed)
        else:
            self.study.sampler = optuna.samplers.NSGAIISampler(population_size=self.method.population, seed=seed)

    def _made(self, trial: "Trial") -> "Trial":
        """Return a trial that has chosen everything; what it has chosen before stays."""
        for name, values in self.choices.parameters.items():
            if len(values) > 1:
                trial.suggest_categorical(name, values)
        return trial

    def point(self, trial: "Trial | FrozenTrial") -> dict[str, Any]:
        """Return what a trial chose."""
        return {name: trial.params.get(name, options[0]) for name, options in self.choices.parameters.items()}

    def _tell(self, trial: "Trial", score: Callable[[Point], float]) -> bool:
        """Price a trial, and score it if it keeps the limits; return whether it is a new network that does."""
        point = self.point(trial)
        prices = self.pricer.price(self.choices.of([point])).items()
        costs = {name: int(cost[0]) if name in COUNTED else float(cost[0]) for name, cost in prices}
        excess = self.limits.excess(costs)
        keeps = all(value <= 0 for value in excess)
        same = next((other for other in self.scored() if other.params == trial.params), None)
        trial.set_user_attr(COSTS, costs)
        trial.set_user_attr(SCORED, keeps)
        if len(trial.constraints) < len(excess):  # else the process that is dead has come as far
            for name, value in zip(self.limits.most, excess, strict=True):
                trial.set_constraint(name, value)
        if same is not None:
            trial.set_user_attr(AS, same.number)
        value = self._score(trial, point, same, score) if keeps else self._worst
        with suppress(RuntimeError, ValueError):  # another process took the trial for dead, and was faster
            self.study.tell(trial, [value, costs[self.cost]])
        return keeps and same is None

    @property
    def _worst(self) -> float:
        """What stands in the place of a score that was not measured; limits decide before it does."""
        return 0.0 if self.better == "max" else float(np.finfo(np.float32).max)

    def _score(
        self, trial: "Trial", point: Point, same: "FrozenTrial | None", score: Callable[[Point], float]
    ) -> float:
        if same is not None:
            return float(same.values[0])
        with beating([trial], HEARTBEAT_SECONDS):
            return score(point)

    def front(self) -> "list[FrozenTrial]":
        """Return the scored trials that none is better than in both score and cost, the cheapest first."""
        found: list[FrozenTrial] = []
        sign = -1 if self.better == "max" else 1
        for trial in sorted(self.scored(), key=lambda trial: (trial.values[1], sign * trial.values[0], trial.number)):
            if not found or sign * trial.values[0] < sign * found[-1].values[0]:
                found.append(trial)
        return found

    def best(self) -> "FrozenTrial":
        """Return the scored trial that scores best; of equal ones the cheapest."""
        return self.front()[-1]
