"""An ablation's folder: its runs, each with its attempts, and what they must have in common. Imports no torch."""

import fcntl
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from shiftaddaug.catalogue import catalogue_of
from shiftaddaug.errors import DAMAGE, UserError, reason_of
from shiftaddaug.files import read_yaml, remove_halves, write_whole
from shiftaddaug.hybrid.remap_file import with_remap_file
from shiftaddaug.report.ablation import LENGTH
from shiftaddaug.report.recorded import read_results
from shiftaddaug.report.results import CONFIG, RESULTS, read_json
from shiftaddaug.runs.absolute import with_absolute_paths
from shiftaddaug.runs.compose import plain, quoted
from shiftaddaug.runs.explain import compose_config
from shiftaddaug.runs.identity import first_difference
from shiftaddaug.runs.searched import with_searched_net
from shiftaddaug.runs.settings import PathsSettings
from shiftaddaug.settings import shown

COSTS = ("params", "macs")
"""Keys of results.json that the table shows."""
PLAN = "ablation.json"
"""File in the study's folder: the overrides that all its runs share."""
LOCK = ".lock"
"""File in the study's folder: two calls at once would run everything twice."""


@dataclass(frozen=True)
class Cell:
    """One run of the table: its first attempt, and those that went on from where one was stopped."""

    op: str
    row: str
    seed: int
    folder: Path

    def attempts(self) -> list[Path]:
        """Folders of the attempts, oldest first; none is moved, for checkpoints name each other by path."""
        found: list[Path] = []
        while self._attempt(len(found)).exists():
            found.append(self._attempt(len(found)))
        return found

    def next_attempt(self) -> Path:
        """Folder of the attempt that comes next."""
        return self._attempt(len(self.attempts()))

    def _attempt(self, number: int) -> Path:
        return self.folder.with_name(f"{self.folder.name}_attempt{number + 1}") if number else self.folder

    def results(self) -> Path | None:
        """Results file of the attempt that finished."""
        return next((path / RESULTS for path in self.attempts() if (path / RESULTS).exists()), None)

    def overrides(self, shared: list[str]) -> list[str]:
        """Overrides that say what is trained, whatever the attempt."""
        row, _, epochs = self.row.partition(LENGTH)
        longer = [f"trainer.max_epochs={epochs}"] if epochs else []
        return [f"experiment=ablation/{row}", f"op={self.op}", f"seed={self.seed}", *shared, *longer]

    def command(self, shared: list[str], paths: PathsSettings) -> list[str]:
        """A training that writes into the next attempt's folder, from the last checkpoint an earlier one left.

        It is run as a module, so that Lightning can start it again for each of several devices.
        """
        for attempt in self.attempts():
            for place in (attempt, attempt / "checkpoints", attempt / "target"):
                remove_halves(place)
        folder = self.next_attempt()
        chosen = [f"paths.log_dir={quoted(paths.log_dir)}", f"paths.data_dir={quoted(paths.data_dir)}"]
        chosen += self.overrides(shared)  # which may say otherwise
        chosen += [f"paths.output_dir={quoted(folder)}", f"hydra.run.dir={quoted(folder)}"]
        chosen.append("trainer.enable_progress_bar=false")
        checkpoints = [attempt / "checkpoints" / "last.ckpt" for attempt in self.attempts()]
        stopped = [path for path in checkpoints if path.exists()]
        if stopped:
            chosen.append(f"ckpt_path={quoted(stopped[-1])}")
        return [sys.executable, "-m", "shiftaddaug.commands.train", *chosen]


def cells_in(folder: Path) -> Iterator[Cell]:
    """Cells of this and earlier calls of the study."""
    for run in sorted(folder.glob("*/*/seed*")):
        if run.name.removeprefix("seed").isdigit():
            yield Cell(run.parent.parent.name, run.parent.name, int(run.name.removeprefix("seed")), run)


def finished_results(cells: list[Cell]) -> list[dict[str, Any]]:
    """Return the results of the finished cells, each once: what results.json says, and which cell it is.

    Raises:
        UserError: one is damaged.
    """
    results = []
    for cell in dict.fromkeys(cells):
        if (path := cell.results()) is not None:
            found = read_results(path, COSTS) | {"op": cell.op, "row": cell.row, "seed": cell.seed}
            if found.get("resumed_from") and "code" not in found:
                found["train_seconds"] = None  # of before those of resumed runs were added up
            results.append(found)
    return sorted(results, key=lambda result: result["seed"])


def check_overrides(folder: Path, overrides: list[str]) -> None:
    """Refuse other overrides than the earlier runs of the study had.

    Raises:
        UserError: they differ.
    """
    plan = folder / PLAN
    if plan.exists():
        try:
            earlier = read_json(plan)["overrides"]
        except (OSError, *DAMAGE) as error:
            raise UserError(f"folder: {plan} cannot be read ({reason_of(error)}); choose another folder") from None
        if earlier != overrides:
            raise UserError(
                f"overrides={overrides}: the runs in {folder} have {earlier}; repeat them, or choose another folder"
            )
        return
    write_whole(plan, json.dumps({"overrides": overrides}, indent=2) + "\n")


def check_finished(cell: Cell, overrides: list[str]) -> None:
    """Refuse to tabulate a run beside new ones that the same command would train otherwise by now."""
    results = cell.results()
    if results is None or not (results.parent / CONFIG).exists():
        return
    try:
        composed = compose_config("train", [*cell.overrides(overrides), f"paths.output_dir={quoted(results.parent)}"])
    except UserError as error:
        raise UserError(
            f"folder: {results.parent} is of a row that is no more ({error}); move {cell.folder}* away"
        ) from error
    difference = first_difference(_stored(results.parent / CONFIG), _as_trained(plain(with_absolute_paths(composed))))
    if difference is not None:
        key, was, is_now = difference
        raise UserError(
            f"folder: {results.parent} was trained with {key}={shown(was)}, and {cell.row} has {key}={shown(is_now)} "
            f"now; choose another folder, or move {cell.folder}* away"
        )


def _as_trained(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration that a run has of what was composed: the files that it names are read."""
    return with_remap_file(with_searched_net(config, catalogue_of(config["plugins"])))


def _stored(path: Path) -> dict[str, Any]:
    """The configuration in a file, as it stands there: a run wrote it resolved, and nothing in it is resolved again.

    Raises:
        UserError: it cannot be read.
    """
    try:
        container = read_yaml(path)
    except Exception as error:  # damaged yaml makes the parser raise almost anything
        raise UserError(f"folder: {path} cannot be read ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(container, dict):
        raise UserError(f"folder: {path} holds no configuration")
    return {str(key): value for key, value in container.items()}


def locked(folder: Path) -> IO[str]:
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
