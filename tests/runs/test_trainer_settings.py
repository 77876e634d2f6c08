"""How many processes train: no more than cores, and one for each job of a multirun."""

import os
from typing import Any

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.runs.trainer_settings import check_processes, processes_of


@pytest.mark.parametrize(
    ("devices", "processes"), [(1, 1), (3, 3), ("4", 4), ([0, 2], 2), ("auto", None), (-1, None), ("0,1", None)]
)
def test_the_number_of_processes(devices: Any, processes: int | None) -> None:
    assert processes_of({"devices": devices}) == processes


def test_more_processes_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    check_processes({"accelerator": "cpu", "devices": 4}, multirun=False)
    check_processes({"accelerator": "gpu", "devices": 8}, multirun=False)  # which Lightning counts
    line = r"^trainer\.devices=100: would start 100 processes, and this machine has 4 cores; options: 4 at most$"
    with pytest.raises(UserError, match=line):
        check_processes({"accelerator": "cpu", "devices": 100}, multirun=False)


def test_a_job_of_a_multirun_has_one_process() -> None:
    """Each other process would run all jobs."""
    for devices in (1, "auto"):
        check_processes({"accelerator": "cpu", "devices": devices}, multirun=True)
    with pytest.raises(
        UserError, match=r"^trainer\.devices: a job of a multirun \(-m\) trains in one process, not in 2"
    ):
        check_processes({"accelerator": "gpu", "devices": [0, 1]}, multirun=True)
