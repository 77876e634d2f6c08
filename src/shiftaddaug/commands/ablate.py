"""`python src/ablate.py`: run the ablation's rows over operators and seeds, and tabulate them. Imports no torch."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from shiftaddaug.commands.checkpoints import first_difference
from shiftaddaug.commands.checks import check_train_config
from shiftaddaug.commands.entry import PACKAGE, compose_config, config_dir, describe, quoted, run_command
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap_file import take_in_remap_file
from shiftaddaug.report.ablation import summarise, write_runs, write_tables
from shiftaddaug.report.results import RESULTS, print_table, read_json

PLAN = "ablation.json"
"""In the study's folder: the overrides that all its runs share."""
CONFIG = "config.yaml"
"""In a run's folder: its configuration, resolved."""
CELLS_OWN = (
    *("experiment", "op", "seed", "aug", "sharing", "reorder", "block_variant", "bn", "ckpt_path"),
    *("paths.output_dir", "hydra.run.dir"),
)
"""Keys that tell one run of the table from another, or that its row names."""
LOCK = ".lock"
"""In the study's folder: two calls at once would run everything twice."""


@dataclass(frozen=True)
class Cell:
    """One run of the table: its first attempt, and those that went on from where one was stopped."""

    op: str
    row: str
    seed: int
    folder: Path

    def attempts(self) -> list[Path]:
        """Folders, oldest first; none is moved, for checkpoints name each other by path."""
        found: list[Path] = []
        while self._attempt(len(found)).exists():
            found.append(self._attempt(len(found)))
        return found

    def next_attempt(self) -> Path:
        return self._attempt(len(self.attempts()))

    def _attempt(self, number: int) -> Path:
        return self.folder.with_name(f"{self.folder.name}_attempt{number + 1}") if number else self.folder

    def results(self) -> Path | None:
        """Of the attempt that finished."""
        return next((path / RESULTS for path in self.attempts() if (path / RESULTS).exists()), None)

    def overrides(self, shared: list[str]) -> list[str]:
        """Of what is trained, whatever the attempt."""
        return [f"experiment=ablation/{self.row}", f"op={self.op}", f"seed={self.seed}", *shared]

    def command(self, shared: list[str], data_dir: str) -> list[str]:
        """A training that writes into the next attempt's folder, from the last checkpoint an earlier one left.

        As a module, so that Lightning can start it again for each of several devices.
        """
        folder = self.next_attempt()
        chosen = [f"paths.data_dir={quoted(data_dir)}", *self.overrides(shared)]  # which may say otherwise
        chosen += [f"paths.output_dir={quoted(folder)}", f"hydra.run.dir={quoted(folder)}"]
        chosen.append("trainer.enable_progress_bar=false")
        checkpoints = [attempt / "checkpoints" / "last.ckpt" for attempt in self.attempts()]
        stopped = [path for path in checkpoints if path.exists()]
        if stopped:
            chosen.append(f"ckpt_path={quoted(stopped[-1])}")
        return [sys.executable, "-m", "shiftaddaug.commands.train", *chosen]


def ablate(cfg: DictConfig) -> None:
    """Run what is missing, then write table.csv, table.md, table.png and runs.csv into the study's folder.

    Raises:
        UserError: an unknown row or op, overrides that cannot be those of all runs, other overrides than the study's
            earlier runs had, finished runs whose row or defaults have changed since, or a folder in which another
            call, or a run that one left behind, is at work.
    """
    folder = Path(cfg.folder)
    overrides = _overrides(cfg)
    cells = list(_cells(cfg, folder))
    _check_untrained([cell for cell in cells if cell.results() is None], overrides, cfg.paths.data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as lock:
        _check_study(folder, overrides)
        for cell in dict.fromkeys([*cells, *_cells_in(folder)]):
            _check_finished(cell, overrides)
        missing = [cell for cell in cells if cell.results() is None]
        print(f"{len(cells) - len(missing)} of {len(cells)} runs are finished; running {len(missing)}", flush=True)
        with ThreadPoolExecutor(max_workers=cfg.jobs) as pool:  # after Ctrl-C, those that wait are not begun
            done = list(
                pool.map(lambda cell: _run(cell, cell.command(overrides, cfg.paths.data_dir), cfg.jobs, lock), missing)
            )
        results = _results([*cells, *_cells_in(folder)])
        _warn_of_several_commits(results)
        rows = summarise(results, cfg.baseline)
        if rows:
            print_table("ablation", rows)
            write_tables(folder, rows)
            write_runs(folder, results)
    failed = [cell for cell, ok in zip(missing, done, strict=True) if not ok]
    if failed:
        names = ", ".join(str(cell.folder.relative_to(folder)) for cell in failed)
        raise UserError(f"{len(failed)} runs failed: {names}; the log beside each says why; run again to go on")


def _cells(cfg: DictConfig, folder: Path) -> Iterator[Cell]:
    rows = sorted(path.stem for path in (config_dir() / "experiment" / "ablation").glob("[!_]*.yaml"))
    ops = sorted(path.stem for path in (config_dir() / "op").glob("*.yaml"))
    for key in ("rows", "ops", "seeds"):
        values = cfg[key]
        if not OmegaConf.is_list(values):
            raise UserError(f"{key}={values}: must be a list, such as {key}=[{values}]")
        if not values:
            raise UserError(f"{key}=[]: names nothing to run")
        if len(set(values)) < len(values):
            raise UserError(f"{key}={values}: names one twice")
    for key, values, options in (("rows", cfg.rows, rows), ("ops", cfg.ops, ops), ("baseline", [cfg.baseline], rows)):
        for value in values:
            if value not in options:
                raise UserError(f"{key}={value}: no such option; options: {', '.join(options)}")
    for seed in cfg.seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise UserError(f"seeds={seed}: must be a whole number >= 0 and < 2^32")
    if not isinstance(cfg.jobs, int) or cfg.jobs < 1:
        raise UserError(f"jobs={cfg.jobs}: must be a positive integer")
    for seed in cfg.seeds:  # seeds outermost: a study that is stopped has whole rows
        for op in cfg.ops:
            for row in cfg.rows:
                yield Cell(op, row, seed, folder / op / row / f"seed{seed}")


def _overrides(cfg: DictConfig) -> list[str]:
    """Those that all runs share: how long, of which net, but nothing that a row is named after."""
    if not OmegaConf.is_list(cfg.overrides):
        raise UserError(f"overrides={cfg.overrides}: must be a list, such as \"overrides=['trainer.max_epochs=2']\"")
    overrides = [str(override) for override in cfg.overrides]
    for override in overrides:
        key = override.lstrip("+~").split("=")[0].split("@")[0]
        if key in CELLS_OWN:
            raise UserError(f"overrides={override}: {key} is the table's own, by rows, ops and seeds")
    return overrides


def _check_untrained(cells: Sequence[Cell], overrides: list[str], data_dir: str) -> None:
    """Meet mistakes in the shared overrides before the first run, and before they are kept as the study's.

    Raises:
        UserError: as training does.
    """
    for op, row in dict.fromkeys((cell.op, cell.row) for cell in cells):
        folders = [f"paths.data_dir={quoted(data_dir)}", "paths.output_dir=unused"]
        try:
            cfg = compose_config("train", [*folders, *Cell(op, row, 0, Path()).overrides(overrides)])
        except HydraException as error:
            raise UserError(f"overrides: {describe(error, 'train', overrides)}") from error
        check_train_config(cfg)


def _cells_in(folder: Path) -> Iterator[Cell]:
    """Of this and earlier calls of the study."""
    for run in sorted(folder.glob("*/*/seed*")):
        if run.name.removeprefix("seed").isdigit():
            yield Cell(run.parent.parent.name, run.parent.name, int(run.name.removeprefix("seed")), run)


def _results(cells: list[Cell]) -> list[dict[str, Any]]:
    """Of the finished ones, each once: what results.json says, and which cell it is."""
    results = []
    for cell in dict.fromkeys(cells):
        if (path := cell.results()) is not None:
            found = read_json(path) | {"op": cell.op, "row": cell.row, "seed": cell.seed}
            if found.get("resumed_from"):
                found["train_seconds"] = None  # the last attempt's alone
            results.append(found)
    return sorted(results, key=lambda result: result["seed"])


def _warn_of_several_commits(results: Sequence[dict[str, Any]]) -> None:
    commits = sorted({str(result.get("git_commit")) for result in results})
    if len(commits) > 1:
        print(f"warning: the table's runs are of several commits (runs.csv): {', '.join(commits)}", flush=True)


def _check_study(folder: Path, overrides: list[str]) -> None:
    plan = folder / PLAN
    if plan.exists():
        earlier = json.loads(plan.read_text())["overrides"]
        if earlier != overrides:
            raise UserError(
                f"overrides={overrides}: the runs in {folder} have {earlier}; repeat them, or choose another folder"
            )
        return
    plan.write_text(json.dumps({"overrides": overrides}, indent=2) + "\n")


def _check_finished(cell: Cell, overrides: list[str]) -> None:
    """Refuse to tabulate a run beside new ones that the same command would train otherwise by now."""
    results = cell.results()
    if results is None or not (results.parent / CONFIG).exists():
        return
    try:
        composed = compose_config("train", [*cell.overrides(overrides), f"paths.output_dir={quoted(results.parent)}"])
    except HydraException as error:
        reason = describe(error, "train", overrides)
        raise UserError(
            f"folder: {results.parent} is of a row that is no more ({reason}); move that run away"
        ) from error
    take_in_remap_file(composed)
    difference = first_difference(_plain(OmegaConf.load(results.parent / CONFIG)), _plain(composed))
    if difference is not None:
        key, was, is_now = difference
        raise UserError(
            f"folder: {results.parent} was trained with {key}={was}, and {cell.row} has {key}={is_now} now; choose "
            f"another folder, or move that run away"
        )


def _plain(cfg: Any) -> dict[str, Any]:
    container: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return container


def _locked(folder: Path) -> IO[str]:
    """A lock on the folder, of this process and of those that inherit it, until the last of them ends.

    Some network file systems know no locks: there, a warning takes its place.
    """
    lock = (folder / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UserError(f"folder={folder}: another ablation, or a run that one left behind, is at work there") from None
    except OSError as error:
        print(f"warning: {folder} can't be locked ({error.strerror}): no other ablation may run there", flush=True)
    return lock


def _run(cell: Cell, command: list[str], jobs: int, lock: IO[str]) -> bool:
    """Whether the run finished."""
    cell.folder.parent.mkdir(parents=True, exist_ok=True)
    log = cell.folder.with_name(f"{cell.folder.name}.log")
    environment: dict[str, Any] = dict(os.environ)
    path = [str(PACKAGE.parent), environment.get("PYTHONPATH")]  # this checkout's code, whichever is installed
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = "1"
    with log.open("a") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False, pass_fds=(lock.fileno(),)
        )
    state = "finished" if done.returncode == 0 else f"failed, see {log}"
    print(f"{cell.op} {cell.row} seed {cell.seed}: {state}", flush=True)
    return done.returncode == 0


def main() -> Any:
    run_command("ablate", ablate)


if __name__ == "__main__":
    main()
