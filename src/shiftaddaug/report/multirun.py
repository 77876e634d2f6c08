"""A table of all jobs at the end of a multirun."""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from shiftaddaug.errors import DAMAGE, UserError, reason_of
from shiftaddaug.files import read_yaml, write_csv
from shiftaddaug.hardware.rules import MODES
from shiftaddaug.report.ablation import mean_and_spread
from shiftaddaug.report.recorded import columns, headline_in, headline_of, read_results
from shiftaddaug.report.results import INHERITED, JOBS, PRUNED, SEEDS, print_table, results_of

log = logging.getLogger(__name__)

COSTS = {
    **{f"mJ ({mode})": f"energy_mj_{mode}" for mode in MODES},
    **{f"ms ({mode})": f"latency_ms_{mode}" for mode in MODES},
    "SRAM, KiB": "peak_sram_kib",
    "Flash, KiB": "flash_kib",
}
"""Columns of what targets cost, by the keys of results.json; a column that no job has is left out."""


class MultirunTable(Callback):
    """Print and save (jobs.csv in the sweep's folder) the results of the jobs of this multirun.

    Jobs that fail in other processes end the command with status 2, as those of this one do. Trials of a search do not.
    """

    def __init__(self) -> None:
        self.jobs: list[tuple[list[str], Path]] = []

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        self.jobs.append((list(config.hydra.overrides.task), Path(config.hydra.runtime.output_dir)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        elsewhere = not self.jobs  # other processes ran them
        folder = OmegaConf.select(config, "hydra.sweep.dir")
        if elsewhere and folder is not None:
            self.jobs = jobs_in(Path(folder))
        if not self.jobs:
            return
        rows = job_rows(self.jobs)
        print_table("jobs", rows)
        write_csv(self.jobs[0][1].parent / JOBS, list(rows[0]), rows)
        seeds = seed_rows(self.jobs)
        if seeds:
            print_table("over seeds: mean ± standard deviation", seeds)
            write_csv(self.jobs[0][1].parent / SEEDS, list(seeds[0]), seeds)
        failed = [folder for _, folder in self.jobs if not _has_ended(folder)]
        sweeper = OmegaConf.select(config, "hydra.sweeper._target_", default=".BasicSweeper")
        searches = not str(sweeper).endswith(".BasicSweeper")
        if elsewhere and failed and not searches:
            raise SystemExit(2) from UserError(f"{len(failed)} of the jobs failed, the first in {failed[0]}")


def _has_ended(folder: Path) -> bool:
    return results_of(folder).exists() or (folder / PRUNED).exists()


def jobs_in(folder: Path) -> list[tuple[list[str], Path]]:
    """Return the jobs of a multirun, by what Hydra has left in its folder: overrides, and the job's folder."""
    found = [path.parents[1] for path in folder.glob("*/.hydra/overrides.yaml")]
    found.sort(key=lambda job: (len(job.name), job.name))  # by number
    return [(_overrides(job), job) for job in found]


def _overrides(job: Path) -> list[str]:
    """Return what a job was told, as far as that can be read."""
    try:
        return list(map(str, read_yaml(job / ".hydra" / "overrides.yaml")))
    except (OSError, YAMLError, *DAMAGE) as error:
        log.warning("%s: what it was told cannot be read (%s)", job, reason_of(error))
        return []


def _results(path: Path) -> dict[str, Any]:
    """Return the results of a job; none where it has left none, or damaged ones."""
    try:
        return read_results(path) if path.exists() else {}
    except UserError as error:
        log.warning("%s", error)
        return {}


def job_rows(jobs: list[tuple[list[str], Path]]) -> list[dict[str, Any]]:
    """A row for each job (its overrides and its folder); overrides that all jobs share are left out.

    Every headline and every cost that a job has gets its columns: jobs of one multirun may be of several tasks.
    """
    shared = set.intersection(*(set(overrides) for overrides, _ in jobs)) if len(jobs) > 1 else set()
    found = [results_of(folder) for _, folder in jobs]
    known = [headline_in(path.parent) for path in found if path.exists()]
    headlines = list(dict.fromkeys(known or [headline_in(folder) for _, folder in jobs]))
    figures = columns(headlines, ("val", "test"))
    results = [_results(path) for path in found]
    inherited = dict.fromkeys(key for result in results for key in result if key.startswith(INHERITED))
    if inherited:  # of architectures that were searched, which nothing has trained
        figures = {key.replace("_percent", " %").replace("_", " "): key for key in inherited}
    costs = {title: key for title, key in COSTS.items() if any(key in result for result in results)}
    return [
        _row(" ".join(o for o in overrides if o not in shared), folder, result, figures, costs)
        for (overrides, folder), result in zip(jobs, results, strict=True)
    ]


def seed_rows(jobs: list[tuple[list[str], Path]]) -> list[dict[str, Any]]:
    """A row for each configuration that several jobs have trained with several seeds; none if there is none such.

    It has the number of seeds that have finished, and mean and sample standard deviation of every headline.
    """
    rows = []
    for overrides, folders in _without_seeds(jobs).items():
        results = [found for folder in folders if (found := _results(results_of(folder)))]
        headlines = list(dict.fromkeys(headline_of(result) for result in results))
        values: dict[str, Any] = {}
        for headline in headlines:
            for title, key in columns([headline], ("val", "test")).items():
                values[title] = mean_and_spread([r[key] for r in results if r.get(key) is not None], headline)
        rows.append({"overrides": " ".join(overrides), "seeds": len(results), **values})
    titles = dict.fromkeys(title for row in rows for title in row)
    return [{title: row.get(title, "") for title in titles} for row in rows]


def _without_seeds(jobs: list[tuple[list[str], Path]]) -> dict[tuple[str, ...], list[Path]]:
    """Return the folders of jobs by their overrides without the seed, less what all share; none if no seed differs."""
    groups: dict[tuple[str, ...], dict[str, Path]] = {}
    for overrides, folder in jobs:
        seed = next((override for override in overrides if override.startswith("seed=")), "")
        others = tuple(override for override in overrides if override != seed)
        groups.setdefault(others, {})[seed] = folder
    if max(len(seeds) for seeds in groups.values()) < 2:
        return {}
    shared = set.intersection(*map(set, groups)) if len(groups) > 1 else set()
    return {tuple(o for o in others if o not in shared): list(seeds.values()) for others, seeds in groups.items()}


def _row(
    overrides: str, folder: Path, result: dict[str, Any], figures: dict[str, str], costs: dict[str, str]
) -> dict[str, Any]:
    values: dict[str, Any] = {title: result.get(key) for title, key in figures.items()}
    first = next(iter(figures))
    if values[first] is None:
        values[first] = "" if result else "pruned" if (folder / PRUNED).exists() else "failed"
    return {
        "job": folder.name,
        "overrides": overrides,
        **values,
        "params": result.get("params"),
        "MACs": result.get("macs"),
        **{title: _rounded(result.get(key)) for title, key in costs.items()},
        "s": result.get("train_seconds"),
    }


def _rounded(value: Any) -> float | None:
    return float(f"{value:.4g}") if isinstance(value, int | float) else None
