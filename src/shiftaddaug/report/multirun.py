"""A table of all jobs at the end of a multirun."""

import csv
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from shiftaddaug.report.results import RESULTS, print_table, read_json


class MultirunTable(Callback):
    """Print and save (jobs.csv in the sweep's folder) the results of the jobs of this multirun."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Path]] = []

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        hydra = config.hydra
        self.jobs.append((str(hydra.job.override_dirname), Path(hydra.runtime.output_dir)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        rows = [_row(overrides, folder) for overrides, folder in self.jobs]
        if not rows:
            return
        print_table("jobs", rows)
        path = self.jobs[0][1].parent / "jobs.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def _row(overrides: str, folder: Path) -> dict[str, Any]:
    result = read_json(folder / RESULTS) if (folder / RESULTS).exists() else {}
    return {
        "job": folder.name,
        "overrides": overrides,
        "val top-1 %": result.get("val_top1_percent", "failed"),
        "test top-1 %": result.get("test_top1_percent"),
        "params": result.get("params"),
        "MACs": result.get("macs"),
        "s": result.get("train_seconds"),
    }
