"""Searches whose jobs are functions: a score in no time."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from tests.build import CONFIGS

from shiftaddaug.search.conclusion import conclude
from shiftaddaug.search.settings import read_sweeper
from shiftaddaug.search.sweeper import Search

Job = Callable[[dict[str, str]], Any]
"""A score, or a dict for results.json, given the overrides by key."""


def composed(folder: Path, *overrides: str) -> DictConfig:
    """The configuration of a multirun in `folder`."""
    paths = [f"hydra.sweep.dir={folder}", f"paths.log_dir={folder}/logs", "paths.output_dir=/run"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        given = ["hydra/sweeper=optuna", *paths, *overrides]
        return compose("train", overrides=given, return_hydra_config=True)


class Launcher:
    """Runs jobs as Hydra's do, as far as a sweeper sees."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.folder, self.job = folder, job
        self.overrides: list[dict[str, str]] = []

    def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        return [self._run(list(each), initial_job_idx + i) for i, each in enumerate(overrides)]

    def _run(self, overrides: list[str], number: int) -> Any:
        given = dict(override.split("=", 1) for override in overrides)
        self.overrides.append(given)
        output = self.folder / f"job-{number}"
        try:
            value, status = self.job(given), JobStatus.COMPLETED
        except Exception as error:
            value, status = error, JobStatus.FAILED
        if isinstance(value, dict):
            output.mkdir(parents=True, exist_ok=True)
            (output / "results.json").write_text(json.dumps(value))
            value = 0.0
        config = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(output)}}})
        return JobReturn(_return_value=value, status=status, hydra_cfg=config)


def search(folder: Path, job: Job, *overrides: str, swept: Sequence[str] = ("x=interval(-1,1)",)) -> Search:
    """A finished search: its study and what it launched (`launched`)."""
    config = composed(folder, *overrides)
    settings = read_sweeper({k: v for k, v in config.hydra.sweeper.items() if k not in ("_target_", "_recursive_")})
    found = Search(settings, swept, config)
    launcher = Launcher(folder, job)
    found.run(launcher)
    conclude(found.study, found.fixed, settings.constraints or {}, folder)
    found.launched = launcher.overrides  # type: ignore[attr-defined]
    return found


WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.search.sweeping import search
where = f"hydra.sweeper.storage={sys.argv[3]}"
search(Path(sys.argv[2]), lambda given: float(given["x"]), where, "hydra.sweeper.n_trials=12")
"""


def two_workers(storage: str, folder: Path) -> None:
    """Let two processes work on a study of twelve trials; both have to end well."""
    root = str(Path(__file__).resolve().parents[2])
    lines = [[sys.executable, "-c", WORKER, root, str(folder / name), storage] for name in ("a", "b")]
    workers = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for line in lines]
    for worker in workers:
        _, said = worker.communicate(timeout=180)
        assert worker.returncode == 0, said
