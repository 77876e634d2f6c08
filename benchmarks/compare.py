"""Compare what two checkouts compute, bit by bit: this one and a revision of the same repository.

    make compare REV=HEAD~1
    make compare REV=main ARGS="--quick"
    make compare REV=main ARGS="--only add/full --only resume"

The revision gets a worktree with its own environment and native build, once, under build/compare. Both run the same
cases (compare_cases.py), one thread each; what the revision computed is kept, and computed anew only where the case or
the recording changed. One line for each difference, `case: place: old | new`; exit status 1 if there is any.

After a rename, state it in compare_names.py; after a move of what compare_adapter.py asks, add the new place there.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compare_cases import BASE, STOP, Case, all_cases
from compare_differences import compare_records, resume_differences, told
from measure import Parser, fail, positive

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = Path(__file__).resolve().parent
CACHE = ROOT / "build" / "compare"
RECORDING = ("compare_adapter.py", "compare_names.py", "compare_record.py", "compare_worker.py")
"""Files that decide what is recorded."""
_HOW = b"".join((BENCHMARKS / name).read_bytes() for name in RECORDING)
"""Read once: somebody may edit them while the cases run."""
PATIENCE = 30
"""Seconds between two lines of progress."""
TAKEN_OVER = "taken over"
"""Name of the record of the old checkout's checkpoint, resumed by the new one."""


@dataclass(frozen=True)
class Side:
    """One of the two checkouts, and where its records and checkpoints lie."""

    checkout: Path
    folder: Path
    old: bool

    @property
    def python(self) -> Path:
        return self.checkout / ".venv" / "bin" / "python"

    def record(self, case: Case, of: str = "") -> Path:
        return self.folder / "records" / f"{_key(case)}{of.replace(' ', '_')}.json"

    def checkpoints(self, case: Case) -> Path:
        return self.folder / "kept" / _key(case)


def _key(case: Case) -> str:
    return hashlib.sha256(_HOW + repr((BASE, STOP)).encode() + case.to_json().encode()).hexdigest()[:16]


def _git(*arguments: str) -> str:
    process = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if process.returncode:
        fail(f"git {' '.join(arguments)}: {process.stderr}")
    return process.stdout.strip()


def prepare_old(revision: str) -> Side:
    """Check the revision out and set it up, unless that was done before."""
    commit = _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")[:12]
    folder = CACHE / commit
    checkout = folder / "checkout"
    if not (checkout / ".venv" / ".ready").exists():
        print(f"setting up {commit} in {checkout.relative_to(ROOT)} (once)", flush=True)
        _git("worktree", "prune")
        if not (checkout / "Makefile").exists():
            _git("worktree", "add", "--detach", str(checkout), commit)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
        process = subprocess.run(["make", "setup"], cwd=checkout, env=environment, check=False)
        if process.returncode:
            fail(f"make setup in {checkout} failed")
    return Side(checkout, folder, old=True)


def start(side: Side, jobs: Sequence[dict[str, Any]], name: str) -> subprocess.Popen[bytes]:
    """Start a worker on a list of jobs; its output goes into a file beside the list."""
    listed, log = side.folder / f"{name}.jobs.json", side.folder / f"{name}.log"
    listed.write_text(json.dumps(list(jobs)))
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "CUDA_VISIBLE_DEVICES": "",
        "SHIFTADDAUG_ROOT": str(side.folder),
    }
    command = [str(side.python), str(BENCHMARKS / "compare_worker.py"), str(listed), "--checkout", str(side.checkout)]
    with log.open("wb") as file:
        return subprocess.Popen(
            command + (["--old"] if side.old else []), env=environment, cwd=side.checkout, stdout=file, stderr=file
        )


def job(side: Side, case: Case, take_over_from: Side | None = None) -> dict[str, Any]:
    """What the worker reads of a case; `take_over_from`: resume that side's checkpoint."""
    return {
        "case": asdict(case),
        "record": str(side.record(case, TAKEN_OVER if take_over_from else "")),
        "checkpoints": str((take_over_from or side).checkpoints(case)),
        "take_over": take_over_from is not None,
    }


def run_all(work: Sequence[tuple[Side, list[dict[str, Any]]]], processes: int) -> None:
    """Run the jobs of all sides, each side's in so many processes; end if one of them fails."""
    running = [
        (side, start(side, jobs[i::processes], f"{os.getpid()}-{i}"))
        for side, jobs in work
        for i in range(min(processes, len(jobs)))
    ]
    wanted = [Path(entry["record"]) for _, jobs in work for entry in jobs]
    since = time.monotonic()
    try:
        while (ended := {process.poll() for _, process in running}) & {None} and ended <= {None, 0}:
            time.sleep(0.2)
            if time.monotonic() - since > PATIENCE:
                since = time.monotonic()
                print(f"{sum(path.exists() for path in wanted)} of {len(wanted)} records", flush=True)
        failed = [side for side, process in running if process.poll()]
    finally:
        for _, process in running:
            process.kill()
            process.wait()
    for side in failed:
        logs = "\n".join(path.read_text()[-1500:] for path in side.folder.glob(f"{os.getpid()}-*.log"))
        print(logs, file=sys.stderr)
        fail(f"a worker in {side.checkout} failed")


def record_both(old: Side, new: Side, cases: Sequence[Case], processes: int) -> None:
    """Let both sides compute what is not there yet, then the new one resume what the old one left."""
    missing = [job(old, case) for case in cases if not old.record(case).exists()]
    ours = [job(new, case) for case in cases]
    resumed = [case for case in cases if case.kind == "resume"]
    left = [job(new, case, old) for case in resumed if old.record(case).exists()]
    later = [job(new, case, old) for case in resumed if not old.record(case).exists()]
    work = [(old, missing), (new, ours + left)]
    run_all(work, processes if missing else 2 * processes)
    run_all([(new, later)], 1)


def compare(old: Side, new: Side, cases: Sequence[Case]) -> tuple[int, int, int]:
    """Print the differences, and why cases are trained by neither; count differing cases, those cases, differences."""
    differing = total = 0
    refused: dict[str, list[str]] = {}
    for case in cases:
        theirs, ours = (json.loads(side.record(case).read_text()) for side in (old, new))
        found = [*compare_records(theirs, ours), *resume_differences(ours)]
        if case.kind == "resume":
            taken_over = json.loads(new.record(case, TAKEN_OVER).read_text())
            found += [
                replace(difference, place=f"{TAKEN_OVER}: {difference.place}")
                for difference in compare_records(theirs["resumed"], taken_over)
            ]
        if case.kind == "memory":
            print(f"{case.name}: {_peaks(theirs)} | {_peaks(ours)}")
        if theirs["outcome"] == ours["outcome"] != "trained" and case.kind != "built":
            refused.setdefault(ours["text"][:100], []).append(case.name)
        for line in told(found):
            print(f"{case.name}: {line}")
        counted = sum(not difference.note for difference in found)
        total, differing = total + counted, differing + (counted > 0)
    for text, names in refused.items():
        print(f"not trained by either: {len(names)} such as {names[0]}: {text}")
    return differing, sum(map(len, refused.values())), total


def _peaks(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {kib / 1024:.2f} MiB" for name, kib in record.get("memory_kib", {}).items())


def chosen(arguments: argparse.Namespace, old: Side) -> list[Case]:
    cases = all_cases([ROOT / "configs", old.checkout / "configs"])
    cases = [case for case in cases if case.quick or not arguments.quick]
    if arguments.only:
        cases = [case for case in cases if any(part in case.name for part in arguments.only)]
    if not cases:
        fail(f"--only {' '.join(arguments.only)}: no such case; --list names them")
    return cases


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="of git, to compare this working tree with")
    parser.add_argument("--quick", action="store_true", help="every operator and mechanism once, no memory")
    parser.add_argument("--only", action="append", metavar="TEXT", help="cases whose name contains it; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the cases and run none")
    parser.add_argument("--fresh", action="store_true", help="let the revision compute everything anew")
    parser.add_argument("--processes", type=positive, default=1, help="of each side; twice as many if only one runs")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    begun = time.monotonic()
    old = prepare_old(arguments.revision)
    cases = chosen(arguments, old)
    if arguments.list:
        print("\n".join(case.name for case in cases))
        return 0
    new = Side(ROOT, CACHE / f"new-{os.getpid()}", old=False)
    if arguments.fresh:
        shutil.rmtree(old.folder / "records", ignore_errors=True)
    for side in (old, new):
        (side.folder / "records").mkdir(parents=True, exist_ok=True)
    record_both(old, new, cases, arguments.processes)
    differing, refused, total = compare(old, new, cases)
    shutil.rmtree(new.folder)
    print(
        f"{len(cases)} cases, {refused} of them trained by neither; {total} differences in {differing} cases; "
        f"{time.monotonic() - begun:.0f} s"
    )
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
