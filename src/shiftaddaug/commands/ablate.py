"""`python src/ablate.py`: run the ablation's rows over operators and seeds, and tabulate them. Imports no torch."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from shiftaddaug.commands.entry import config_dir, run_command
from shiftaddaug.errors import UserError
from shiftaddaug.report.ablation import summarise, write_runs, write_tables
from shiftaddaug.report.results import RESULTS, print_table, read_json

PLAN = "ablation.json"
"""In the study's folder: the overrides that all its runs share."""


@dataclass(frozen=True)
class Cell:
    """One run of the table."""

    op: str
    row: str
    seed: int
    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / RESULTS

    def command(self, overrides: list[str]) -> list[str]:
        """A training that writes into the cell's folder, from the last checkpoint that an earlier attempt left."""
        chosen = [f"experiment=ablation/{self.row}", f"op={self.op}", f"seed={self.seed}", *overrides]
        chosen += [f"paths.output_dir={self.folder}", f"hydra.run.dir={self.folder}"]
        chosen.append("trainer.enable_progress_bar=false")
        stopped = _attempts(self.folder)
        if stopped:
            chosen.append(f"ckpt_path={stopped[-1] / 'checkpoints' / 'last.ckpt'}")
        code = "from shiftaddaug.commands.train import main; main()"
        return [sys.executable, "-c", code, *chosen]


def ablate(cfg: DictConfig) -> None:
    """Run what is missing, then write table.csv, table.md, table.png and runs.csv into the study's folder.

    Raises:
        UserError: an unknown row or op, or other overrides than the study's earlier runs had.
    """
    folder = Path(cfg.folder)
    overrides = [str(override) for override in cfg.overrides]
    cells = list(_cells(cfg, folder))
    _check_study(folder, overrides)
    missing = [cell for cell in cells if not cell.results.exists()]
    print(f"{len(cells) - len(missing)} of {len(cells)} runs are finished; running {len(missing)}", flush=True)
    done = _run_all(missing, overrides, cfg.jobs)
    failed = [cell for cell, ok in zip(missing, done, strict=True) if not ok]
    finished = [cell for cell in cells if cell.results.exists()]
    results = [{**read_json(cell.results), "row": cell.row, "op": cell.op, "seed": cell.seed} for cell in finished]
    rows = summarise(results, cfg.baseline)
    if rows:
        print_table("ablation", rows)
        write_tables(folder, rows)
        write_runs(folder, results)
    if failed:
        names = ", ".join(str(cell.folder.relative_to(folder)) for cell in failed)
        raise UserError(f"{len(failed)} runs failed: {names}; the log beside each says why; run again to go on")


def _cells(cfg: DictConfig, folder: Path) -> Iterator[Cell]:
    rows = sorted(path.stem for path in (config_dir() / "experiment" / "ablation").glob("[!_]*.yaml"))
    ops = sorted(path.stem for path in (config_dir() / "op").glob("*.yaml"))
    for key, values, options in (("rows", cfg.rows, rows), ("ops", cfg.ops, ops), ("baseline", [cfg.baseline], rows)):
        for value in values:
            if value not in options:
                raise UserError(f"{key}={value}: no such option; options: {', '.join(options)}")
    for key in ("rows", "ops", "seeds"):
        if not cfg[key]:
            raise UserError(f"{key}=[]: names nothing to run")
    if not isinstance(cfg.jobs, int) or cfg.jobs < 1:
        raise UserError(f"jobs={cfg.jobs}: must be a positive integer")
    for seed in cfg.seeds:  # seeds outermost: a study that is stopped has whole rows
        for op in cfg.ops:
            for row in cfg.rows:
                yield Cell(op, row, int(seed), folder / op / row / f"seed{seed}")


def _check_study(folder: Path, overrides: list[str]) -> None:
    plan = folder / PLAN
    if plan.exists():
        earlier = json.loads(plan.read_text())["overrides"]
        if earlier != overrides:
            raise UserError(
                f"overrides={overrides}: the runs in {folder} have {earlier}; repeat them, or choose another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    plan.write_text(json.dumps({"overrides": overrides}, indent=2) + "\n")


def _attempts(folder: Path) -> list[Path]:
    """Folders of earlier attempts of this run that left a checkpoint, oldest first."""
    attempts = sorted(folder.parent.glob(f"{folder.name}_stopped*"), key=lambda path: path.stat().st_mtime)
    return [path for path in attempts if (path / "checkpoints" / "last.ckpt").exists()]


def _run_all(cells: list[Cell], overrides: list[str], jobs: int) -> list[bool]:
    """Whether each run finished. Ctrl-C reaches the running ones too; those that wait are not begun."""
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        return list(pool.map(lambda cell: _run(cell, overrides, jobs), cells))
    finally:
        pool.shutdown(cancel_futures=True)


def _run(cell: Cell, overrides: list[str], jobs: int) -> bool:
    """Whether the run finished. What a stopped attempt left is kept beside it."""
    if cell.folder.exists():
        count = len(list(cell.folder.parent.glob(f"{cell.folder.name}_stopped*")))
        shutil.move(cell.folder, cell.folder.with_name(f"{cell.folder.name}_stopped{count}"))
    command = cell.command(overrides)
    cell.folder.parent.mkdir(parents=True, exist_ok=True)
    log = cell.folder.with_name(f"{cell.folder.name}.log")
    environment: dict[str, Any] = dict(os.environ)
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = "1"
    with log.open("a") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False)
    state = "finished" if done.returncode == 0 else f"failed, see {log}"
    print(f"{cell.op} {cell.row} seed {cell.seed}: {state}", flush=True)
    return done.returncode == 0


def main() -> Any:
    run_command("ablate", ablate)


if __name__ == "__main__":
    main()
