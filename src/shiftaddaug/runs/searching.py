"""Whether a command runs several jobs, and whether it searches: scores of jobs choose the next ones. No torch."""

from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from shiftaddaug.errors import UserError
from shiftaddaug.runs.study_storage import answering_storage, open_storage, shown

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage


def is_multirun() -> bool:
    """Return whether this run is one of several jobs of a command."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def is_search() -> bool:
    """Return whether this run is a trial of a sweeper that looks at scores."""
    return is_multirun() and not HydraConfig.get().sweeper["_target_"].endswith(".BasicSweeper")


JOB = "job"
"""Attribute of a trial: the sweep's folder and the job's number, by which a job finds its trial."""
PRUNED = "pruned"
"""Attribute of a trial that its job has stopped: the epochs that it had trained."""


def running_trial() -> "Trial | None":
    """Return the trial that this run is, where a search stops trials that are behind; None elsewhere.

    Raises:
        UserError: the study does not know it.
    """
    if not is_search():
        return None
    hydra = HydraConfig.get()
    if hydra.sweeper.get("pruner") is None:
        return None
    address = hydra.sweeper.storage
    with answering_storage(address):
        found = _trial_of([str(hydra.sweep.dir), int(hydra.job.num)], open_storage(address), hydra.sweeper.pruner)
    if found is None:
        raise UserError(f"hydra.sweeper.storage={shown(address)}: has no trial for job {hydra.job.num}")
    return found


def _trial_of(job: list[Any], storage: "BaseStorage", pruner: str) -> "Trial | None":
    import optuna

    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage, pruner=build_pruner(pruner))
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if trial.user_attrs.get(JOB) == job:
                return optuna.trial.Trial(study, trial._trial_id)
    return None


def build_pruner(name: str | None) -> "BasePruner":
    """Build what says which trials are behind: `median`, `hyperband`, or for None what stops none."""
    import optuna

    makers: dict[str | None, type[BasePruner]] = {
        None: optuna.pruners.NopPruner,
        "median": optuna.pruners.MedianPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
    }
    return makers[name]()
