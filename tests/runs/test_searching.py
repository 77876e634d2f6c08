"""How a job finds the trial that it is."""

from pathlib import Path

import optuna
import pytest

from shiftaddaug.runs.searching import JOB, _trial_of
from shiftaddaug.runs.study_storage import open_storage


@pytest.mark.parametrize(
    ("name", "kind"), [("median", optuna.pruners.MedianPruner), ("hyperband", optuna.pruners.HyperbandPruner)]
)
def test_a_job_is_judged_by_the_pruner_of_its_search(name: str, kind: type, tmp_path: Path) -> None:
    storage = open_storage(f"journal:///{tmp_path}/a")
    optuna.create_study(study_name="another", storage=storage).ask()
    study = optuna.create_study(study_name="ours", storage=storage)
    first, second = study.ask(), study.ask()
    for job, trial in enumerate((first, second)):
        trial.set_user_attr(JOB, ["/sweep", job])
    found = _trial_of(["/sweep", 1], storage, name)
    assert found is not None and found.number == second.number and isinstance(found.study.pruner, kind)
    assert _trial_of(["/sweep", 2], storage, name) is None
