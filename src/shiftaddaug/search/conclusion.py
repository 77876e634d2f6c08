"""What a search found: files, the command that runs the best trial again, a Pareto front, importances."""

import logging
import shlex
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from shiftaddaug.errors import UserError
from shiftaddaug.files import write_whole
from shiftaddaug.report.harmless import harmless
from shiftaddaug.report.results import print_table

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

NO_SCORE = "no trial of the search has a score"
SEARCHING = ("sweep", "resume")
"""Keys that say how trials are run; a single run has none of them."""
FEWEST = 8
"""Trials from which importances of parameters are told."""


def conclude(study: "Study", fixed: Mapping[str, str], constraints: Mapping[str, float], folder: Path) -> None:
    """Write optimization_results.yaml, and pareto.png of two objectives; print what was best, and importances.

    Args:
        study: of the search.
        fixed: whole overrides that all trials share, by key.
        constraints: limits by name.
        folder: of the multirun.

    Raises:
        UserError: no trial keeps the constraints.
        UserError: no trial has a score.
    """
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kept = [trial for trial in done if keeps(trial)]
    if not done:
        raise UserError(NO_SCORE)
    if not kept:
        raise UserError(_why_none(done, constraints))
    best = best_of(study, kept)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "optimization_results.yaml", OmegaConf.to_yaml(OmegaConf.create(_record(study, best))))
    print_table(f"best of {len(done)} trials of {study.study_name}", [_row(study, trial) for trial in best])
    with harmless("importances could not be told"):
        _print_importances(study, len(done))
    if len(study.directions) == 2:
        with harmless("pareto.png could not be drawn"):
            write_whole(folder / "pareto.png", _pareto(study, done, best))
    for trial in best:
        log.info("again: %s", command_of(trial, fixed))


def keeps(trial: "FrozenTrial") -> bool:
    """Whether a trial keeps all constraints."""
    return all(value <= 0 for value in trial.constraints.values())


def best_of(study: "Study", trials: "list[FrozenTrial]") -> "list[FrozenTrial]":
    """Return the best trial, or of several objectives those that no other one is better than in all."""
    signs = [-1.0 if direction.name == "MAXIMIZE" else 1.0 for direction in study.directions]
    points = [[sign * value for sign, value in zip(signs, trial.values, strict=True)] for trial in trials]
    if len(signs) == 1:
        return [trials[min(range(len(points)), key=points.__getitem__)]]

    def dominated(point: list[float]) -> bool:
        return any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points)

    front = [trial for trial, point in zip(trials, points, strict=True) if not dominated(point)]
    return sorted(front, key=lambda trial: trial.values)


def command_of(trial: "FrozenTrial", fixed: Mapping[str, str]) -> str:
    """Return the command line that runs a trial again, by itself."""
    given = [line for key, line in fixed.items() if key.lstrip("+~").split(".")[0] not in SEARCHING]
    overrides = [*given, *(f"{key}={value}" for key, value in trial.params.items())]
    return f"python src/train.py {shlex.join(overrides)}"


def _record(study: "Study", best: "list[FrozenTrial]") -> dict[str, Any]:
    if len(study.directions) > 1:
        return {"name": "optuna", "solutions": [{"params": trial.params, "values": trial.values} for trial in best]}
    return {"name": "optuna", "best_params": best[0].params, "best_value": best[0].value}


def _row(study: "Study", trial: "FrozenTrial") -> dict[str, Any]:
    names = study.metric_names or ["score"]
    values = {name: f"{value:.6g}" for name, value in zip(names, trial.values, strict=True)}
    return {"trial": trial.number, **values, **{key: str(value) for key, value in trial.params.items()}}


def _print_importances(study: "Study", trials: int) -> None:
    from optuna.importance import get_param_importances

    if trials < FEWEST or len(study.directions) > 1:
        return
    found = get_param_importances(study)
    if len(found) > 1:
        print_table(
            "share of the score's variance that each key explains",
            [{"key": key, "importance": f"{value:.2f}"} for key, value in found.items()],
        )


def _pareto(study: "Study", done: "list[FrozenTrial]", best: "list[FrozenTrial]") -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    names = study.metric_names or ["first objective", "second objective"]
    axes.scatter(*map(list, zip(*(trial.values for trial in done), strict=True)), color="0.6", label="trials")
    axes.plot(*zip(*(trial.values for trial in best), strict=True), marker="o", label="no trial is better in both")
    axes.set(xlabel=names[0], ylabel=names[1], title=study.study_name)
    axes.grid(alpha=0.3)
    axes.legend()
    png = BytesIO()
    figure.savefig(png, format="png", dpi="figure")
    return png.getvalue()


def _why_none(done: "list[FrozenTrial]", constraints: Mapping[str, float]) -> str:
    nearest = {name: min(trial.constraints[name] for trial in done) for name in constraints}
    broken = [
        f"{name}: at most {constraints[name]:g}, the least was {least + constraints[name]:g}"
        for name, least in nearest.items()
        if least > 0
    ]
    together = "; ".join(broken) or "each is kept by some, and no trial keeps all"
    return f"hydra.sweeper.constraints: no trial keeps them ({together})"
