"""`python src/ablate.py`: run the ablation's rows over operators and seeds, and tabulate them. Imports no torch."""

import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from msgspec import Meta
from omegaconf import DictConfig

from shiftaddaug.catalogue import catalogue_of
from shiftaddaug.commands.arguments import refuse_names
from shiftaddaug.commands.entry import run_command
from shiftaddaug.errors import UserError
from shiftaddaug.report.ablation import summarise, write_runs, write_tables
from shiftaddaug.report.drawing import draw_figures
from shiftaddaug.report.progress import StudyProgress, duration, scored
from shiftaddaug.report.results import print_table, read_json
from shiftaddaug.runs.cells import Cell, cells_in, check_finished, check_overrides, finished_results, locked
from shiftaddaug.runs.compose import (
    PACKAGE,
    as_text,
    catalogue_in,
    config_dir,
    expand_home,
    group_options,
    plain,
    plugin_config_dirs,
    quoted,
)
from shiftaddaug.runs.equal_time import longer_baselines, longer_row
from shiftaddaug.runs.explain import compose_config
from shiftaddaug.runs.settings import PathsSettings, read_settings
from shiftaddaug.settings import PathName, PositiveInt, Seed, check, check_group, shown

CELLS_OWN = (
    *("recipe", "experiment", "op", "seed", "aug", "sharing", "reorder", "block_variant", "bn", "ckpt_path"),
    *("aug.operator", "aug.distill_weight", "aug.extra_blocks", "aug.width_multipliers", "aug.expand_multipliers"),
    *("callbacks.reorder", "callbacks.block_variant", "callbacks.recalibrate"),
    *("paths.output_dir", "hydra.run.dir"),
)
"""Keys that tell one run of the table from another, or that its row names."""


@dataclass(frozen=True)
class AblationSettings:
    """Keys of configs/ablate.yaml."""

    folder: PathName
    rows: Annotated[list[str], Meta(min_length=1, title="a list of rows, one at least, such as [mf_direct,full]")]
    ops: Annotated[list[str], Meta(min_length=1, title="a list of operators, one at least, such as [shift]")]
    seeds: Annotated[
        list[Seed],
        Meta(min_length=1, title="a list of whole numbers >= 0 and <= 4294967295, one at least, such as [0]"),
    ]
    baseline: str
    overrides: Annotated[list[str], Meta(title="a list, such as \"overrides=['trainer.max_epochs=2']\"")] = ()  # type: ignore[assignment]
    jobs: PositiveInt = 1
    equal_time: bool = False


def ablate(cfg: DictConfig) -> None:
    """Run what is missing, then write table.csv, table.md, table.png and runs.csv into the study's folder.

    Raises:
        UserError: an unknown row or op, overrides that cannot be those of all runs, other overrides than the study's
            earlier runs had, finished runs whose row or defaults have changed since, or a folder in which another
            call, or a run that one left behind, is at work.
    """
    config = plain(cfg)
    paths = check_group("paths", config.pop("paths"), PathsSettings)
    settings = check_group("", config, AblationSettings)
    folder = Path(settings.folder)
    overrides = _checked_overrides(settings.overrides)
    cells = list(_cells(settings, overrides))
    _check_untrained([cell for cell in cells if cell.results() is None], overrides, paths)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as lock:
        check_overrides(folder, overrides)
        for cell in dict.fromkeys([*cells, *cells_in(folder)]):
            check_finished(cell, overrides)
        failed = _run_missing(cells, overrides, paths, settings.jobs, lock)
        results = finished_results([*cells, *cells_in(folder)])
        if settings.equal_time:
            longer = longer_baselines(cells, settings.baseline, results)
            failed += _run_missing(longer, overrides, paths, settings.jobs, lock)
            results = finished_results([*cells, *longer, *cells_in(folder)])
        _warn_of_changed_code(results)
        _warn_of_no_baseline(results, settings.baseline)
        as_long = {(r["op"], r["row"]): longer_row(settings.baseline, r["row"], r["op"], results) for r in results}
        rows = summarise(results, settings.baseline, as_long)
        if rows:
            print_table("ablation", rows)
            write_tables(folder, rows)
            write_runs(folder, results)
            draw_figures(folder, catalogue_in(overrides))
    if failed:
        names = ", ".join(str(cell.folder.relative_to(folder)) for cell in failed)
        raise UserError(f"{len(failed)} runs failed: {names}; the log beside each says why; run again to go on")


def _cells(settings: AblationSettings, overrides: list[str]) -> Iterator[Cell]:
    rows = group_options([config_dir()])["experiment/ablation"]
    ops = group_options([config_dir(), *plugin_config_dirs(overrides)])["op"]
    lists: dict[str, Sequence[Any]] = {"rows": settings.rows, "ops": settings.ops, "seeds": settings.seeds}
    for key, values in lists.items():
        if len(set(values)) < len(values):
            raise UserError(f"{key}={shown(values)}: names one twice")
    named = (("rows", settings.rows, rows), ("ops", settings.ops, ops), ("baseline", [settings.baseline], rows))
    for key, names, options in named:
        for name in names:
            check(key, name, Literal[tuple(options)])  # type: ignore[valid-type]
    for seed in settings.seeds:  # seeds outermost: a study that is stopped has whole rows
        for op in settings.ops:
            for row in settings.rows:
                yield Cell(op, row, seed, Path(settings.folder) / op / row / f"seed{seed}")


def _checked_overrides(given: Sequence[str]) -> list[str]:
    """Overrides that all runs share: how long, of which net, but nothing that a row is named after."""
    overrides = [as_text(expand_home(override)) for override in given]
    refuse_names(overrides)
    for override in overrides:
        key = override.lstrip("+~").split("=")[0].split("@")[0]
        if key in CELLS_OWN:
            instead = f"; net.{key[4:]} sets those of the rows that widen" if key.endswith("_multipliers") else ""
            raise UserError(f"overrides={override}: {key} is the table's own, by rows, ops and seeds{instead}")
    return overrides


def _check_untrained(cells: Sequence[Cell], overrides: list[str], paths: PathsSettings) -> None:
    """Meet mistakes in the shared overrides before the first run, and before they are kept as the study's.

    Raises:
        UserError: as training does.
    """
    for op, row in dict.fromkeys((cell.op, cell.row) for cell in cells):
        folders = [f"paths.data_dir={quoted(paths.data_dir)}", "paths.output_dir=unused"]
        try:
            cfg = compose_config("train", [*folders, *Cell(op, row, 0, Path()).overrides(overrides)])
        except UserError as error:
            raise UserError(f"overrides: {error}") from error
        read_settings(cfg, catalogue=catalogue_of(cfg.plugins))


def _warn_of_changed_code(results: Sequence[dict[str, Any]]) -> None:
    key = "code" if all("code" in result for result in results) else "git_commit"
    versions = sorted({str(result.get(key)) for result in results})
    if len(versions) > 1:
        what = (
            "the code changed between the table's runs" if key == "code" else "the table's runs are of several commits"
        )
        print(f"warning: {what} (runs.csv): {', '.join(versions)}", flush=True)


def _warn_of_no_baseline(results: Sequence[dict[str, Any]], baseline: str) -> None:
    """Say which operators have no run that gains could be measured from."""
    lacking = {result["op"] for result in results} - {r["op"] for r in results if r["row"] == baseline}
    if lacking:
        ops = ", ".join(f"op={op}" for op in sorted(lacking))
        print(f"warning: no effect, because no such run has finished with {ops}: baseline={baseline}", flush=True)


def _run_missing(
    cells: Sequence[Cell], overrides: list[str], paths: PathsSettings, jobs: int, lock: IO[str]
) -> list[Cell]:
    """Run those that have not finished, a few at once; return those that failed."""
    missing = [cell for cell in cells if cell.results() is None]
    print(f"{len(cells) - len(missing)} of {len(cells)} runs are finished; running {len(missing)}", flush=True)
    earlier = defaultdict[Hashable, list[float]](list)
    for result in finished_results(list(cells)):
        if result.get("train_seconds") is not None:
            earlier[result["op"], result["row"]].append(result["train_seconds"])
    progress = StudyProgress([(cell.op, cell.row) for cell in missing], jobs, earlier)

    def run(cell: Cell) -> bool:
        began = time.monotonic()
        finished = _run(cell, cell.command(overrides, paths), jobs, lock)
        seconds, found = time.monotonic() - began, cell.results()
        state = scored(read_json(found)) if finished and found is not None else f"failed, see {_log_of(cell)}"
        done = progress.ended((cell.op, cell.row), seconds)
        print(f"{cell.op} {cell.row} seed {cell.seed}: {state}, {duration(seconds)}; {done}", flush=True)
        return finished

    with ThreadPoolExecutor(max_workers=jobs) as pool:  # after Ctrl-C, those that wait are not begun
        done = list(pool.map(run, missing))
    return [cell for cell, ok in zip(missing, done, strict=True) if not ok]


def _log_of(cell: Cell) -> Path:
    return cell.folder.with_name(f"{cell.folder.name}.log")


def _run(cell: Cell, command: list[str], jobs: int, lock: IO[str]) -> bool:
    """Whether the run finished."""
    cell.folder.parent.mkdir(parents=True, exist_ok=True)
    environment: dict[str, Any] = dict(os.environ)
    path = [str(PACKAGE.parent), environment.get("PYTHONPATH")]  # this checkout's code, whichever is installed
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = "1"
    with _log_of(cell).open("a") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False, pass_fds=(lock.fileno(),)
        )
    return done.returncode == 0


def main() -> Any:
    """Run the command."""
    run_command("ablate", ablate)


if __name__ == "__main__":
    main()
