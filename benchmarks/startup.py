"""Time what a person waits for before anything happens: `--help`, the answer to a mistake, the first training step.

    python benchmarks/startup.py --rounds 5

The commands take turns, after one round unmeasured that warms the file cache; the smallest times are the ones to
trust. The first step is compared with importing torch and lightning and nothing else, in the same rounds. Without
bytecode on disk (uv writes none unless told, PYTHONDONTWRITEBYTECODE forbids it) every process compiles what it
imports, which takes longer than all else: the title says which it was.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from shiftaddaug.report.results import RESULTS, print_table

ROOT = Path(__file__).resolve().parents[1]
TRAIN = str(ROOT / "src" / "train.py")
IMPORT, FIRST_STEP, HELP = "import torch, lightning.pytorch", "first training step", "--help"
MISTAKES = ("op=ad", "optim.lrr=1", "optim.lr=abc", "net=foo", "trainer.max_epoch=3", "op.weight_bits=99")
UNSHAREABLE = "op=shift_ps aug=width_expand"
ONE_STEP = ("max_epochs=1", *(f"limit_{split}_batches=1" for split in ("train", "val", "test")))


@dataclass
class Command:
    """A process that is started again and again.

    Args:
        arguments: of python.
        status: it must exit with.
        to_first_step: whether what counts is the time to the first step, which the run itself records.
    """

    arguments: list[str]
    status: int
    to_first_step: bool = False
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, logs: Path) -> None:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        environment = os.environ | {"SHIFTADDAUG_ROOT": str(logs)}
        process = subprocess.run(
            [sys.executable, *self.arguments], env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - start
        if process.returncode != self.status:
            sys.exit(f"error: {' '.join(self.arguments)}: exit status {process.returncode}\n{process.stderr[-2000:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        self.wall.append(_first_step(logs) if self.to_first_step else seconds)


def _first_step(logs: Path) -> float:
    newest = max(logs.glob(f"logs/train/runs/*/{RESULTS}"), key=lambda path: path.stat().st_mtime)
    return float(json.loads(newest.read_text())["seconds_to_first_step"])


def commands() -> dict[str, Command]:
    """By what the table calls them."""
    one_step = [f"{'' if option.startswith('max') else '+'}trainer.{option}" for option in ONE_STEP]
    mistakes = {mistake: Command([TRAIN, *mistake.split()], 2) for mistake in (*MISTAKES, UNSHAREABLE)}
    return {
        IMPORT: Command(["-c", IMPORT], 0),
        HELP: Command([TRAIN, HELP], 0),
        **mistakes,
        FIRST_STEP: Command([TRAIN, *one_step, "optim.warmup_epochs=0"], 0, to_first_step=True),
    }


def rows(measured: dict[str, Command]) -> list[dict[str, str]]:
    """Of the table: the smallest and the median wall time, and the smallest processor time of whole processes."""
    reference = min(measured[IMPORT].wall)
    return [
        {
            "command": name,
            "min s": f"{min(command.wall):.2f}",
            "median s": f"{statistics.median(command.wall):.2f}",
            "min CPU s": "" if command.to_first_step else f"{min(command.cpu):.2f}",
            "beyond the import, s": f"{min(command.wall) - reference:.2f}" if command.to_first_step else "",
        }
        for name, command in measured.items()
    ]


def _title(rounds: int) -> str:
    spec = find_spec("torch")
    cached = spec is not None and spec.origin is not None and Path(cache_from_source(spec.origin)).exists()
    state = "on disk" if cached else "absent"
    return f"start-up, {rounds} rounds, bytecode of torch {state}, load average {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="after one round unmeasured")
    parser.add_argument("--csv", type=Path, default=ROOT / "logs" / "bench_startup.csv")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: at least 1")
    measured = commands()
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(1 + arguments.rounds):
            for command in measured.values():
                command.run(Path(folder))
                if round_ == 0:
                    command.wall.clear()
                    command.cpu.clear()
    table = rows(measured)
    print_table(_title(arguments.rounds), table)
    arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    with arguments.csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
