"""Several processes of one run: the first one speaks for all, and none outlives another that failed. Imports no torch.

The first process, which the user started, starts the others by the trainer. These write what they have to say into a
file and not to the terminal. When one ends before its time the first one reads there why, tells it, and ends the
others. When the first one itself is gone, one of the others says so. Processes that a launcher has started (torchrun,
Slurm) are left to that launcher.
"""

import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shiftaddaug.errors import UserError

FOLDER = "SHIFTADDAUG_PROCESSES"
"""Variable of the environment: a folder in which the processes of a run find each other's words."""
FIRST = "first.json"
SECONDS_TO_ANSWER = 10.0
"""How long a process may take to notice by itself that another is gone; one that waits for it never does."""
SECONDS_TO_FINISH = 120.0
"""How long the first process waits for the others once it has finished."""
POLL = 0.2


def follow() -> None:
    """Begin a process that the first one has started: write into a file, and end when the first one is gone."""
    folder, rank = os.environ.get(FOLDER), os.environ.get("LOCAL_RANK", "0")
    if folder is None or rank == "0":
        return
    terminal = os.dup(2)
    with (Path(folder) / f"{rank}.txt").open("wb") as words:
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
    first = json.loads((Path(folder) / FIRST).read_text())
    threading.Thread(target=_end_with_the_first, args=(Path(folder), first, terminal), daemon=True).start()
    atexit.register(_tell_if_alone, Path(folder), first, terminal)  # it may notice before the thread does


def _end_with_the_first(folder: Path, first: dict[str, Any], terminal: int) -> None:
    while os.getppid() == first["pid"]:
        time.sleep(POLL)
    _tell_if_alone(folder, first, terminal)
    os._exit(1)


def _tell_if_alone(folder: Path, first: dict[str, Any], terminal: int) -> None:
    """Tell that the first process is gone, if it is and nobody else has told it."""
    if os.getppid() == first["pid"]:
        return
    try:
        os.close(os.open(folder / "told", os.O_CREAT | os.O_EXCL))
    except OSError:  # another one tells it, or the folder is cleared away: the first one has ended in good order
        return
    last = Path(first["last"])
    resumes = resuming(last if last.exists() else first["resumed"])
    os.write(terminal, f"error: trainer.devices: process 0 of the run is gone; {resumes}\n".encode())
    shutil.rmtree(folder, ignore_errors=True)


def resuming(checkpoint: object | None) -> str:
    """Say how a run goes on, given a checkpoint of it if there is one."""
    if checkpoint is None:
        return "no epoch had finished, so there is nothing to resume"
    return f"ckpt_path={checkpoint} resumes from the last finished epoch"


@contextmanager
def leading(launcher: Any, last: Path, resumed: Path | None) -> Iterator[None]:
    """Lead the processes that a launcher starts within this context; do nothing where it starts none.

    Args:
        launcher: the trainer's: Lightning's launcher of scripts keeps what it has started in `procs`.
        last: where the checkpoint of the last finished epoch is going to lie.
        resumed: the checkpoint that the run resumes.

    Raises:
        UserError: another process was killed, or met a mistake, which is told as if it were this one's.
        SystemExit: another process met a bug, whose traceback is printed.
    """
    if not hasattr(launcher, "procs") or "LOCAL_RANK" in os.environ:
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="shiftaddaug-"))
    first = {"pid": os.getpid(), "last": str(last.absolute()), "resumed": None if resumed is None else str(resumed)}
    (folder / FIRST).write_text(json.dumps(first))
    os.environ[FOLDER] = str(folder)
    others = _Others(launcher, folder, lambda: resuming(last if last.exists() else resumed))
    others.start()
    try:
        yield
        others.wait()
    except BaseException as error:
        others.answered.set()
        if isinstance(error, UserError | KeyboardInterrupt) or not others.any_failed(SECONDS_TO_ANSWER / 2):
            raise
        status, words = others.words()
        if status == 2:
            raise UserError(words) from error
        print(words, file=sys.stderr)
        sys.exit(status)
    finally:
        others.end()
        os.environ.pop(FOLDER, None)


class _Others(threading.Thread):
    """The other processes, seen from the first one.

    NOTE: it takes them over from Lightning's own observer, which kills the first process before that can say anything.
    """

    def __init__(self, launcher: Any, folder: Path, resumes: Callable[[], str]) -> None:
        super().__init__(daemon=True)
        self.launcher, self.folder, self.resumes = launcher, folder, resumes
        self.processes: list[Any] = []
        self.answered, self.ended = threading.Event(), threading.Event()

    def run(self) -> None:
        """Watch them; if the first process does not notice that one is gone, answer in its place and end."""
        while not self.ended.wait(POLL):
            self._adopt()
            if self._failed() and not self.answered.wait(SECONDS_TO_ANSWER) and not self.ended.is_set():
                status, words = self.words()
                print(f"error: {words}" if status == 2 else words, file=sys.stderr, flush=True)
                self.end()
                os._exit(status)

    def _adopt(self) -> None:
        while self.launcher.procs:
            self.processes.append(self.launcher.procs.pop(0))

    def _failed(self) -> list[tuple[int, int]]:
        """Rank and status of those that have failed; what tells most stands first: a mistake, a signal, a bug."""
        failed = [(rank, process.poll()) for rank, process in enumerate(self.processes, start=1)]
        return sorted(((r, s) for r, s in failed if s), key=lambda each: (each[1] != 2, each[1] > 0))

    def any_failed(self, seconds: float) -> bool:
        """Return whether one has failed, or does so in so many seconds."""
        until = time.monotonic() + seconds
        while not self._failed() and time.monotonic() < until:
            time.sleep(POLL)
        time.sleep(POLL)  # of several that fail together, let the one with a reason end, too
        return bool(self._failed())

    def words(self) -> tuple[int, str]:
        """Return the status with which the run ends, and what to tell: a line for a mistake, a traceback for a bug."""
        rank, status = self._failed()[0]
        path = self.folder / f"{rank}.txt"
        said = path.read_text(errors="replace").strip() if path.exists() else ""
        mistakes = [line for line in said.splitlines() if line.startswith("error: ")]
        if status == 2 and mistakes:
            return 2, mistakes[-1].removeprefix("error: ")
        if status < 0:
            return 2, f"trainer.devices: process {rank} of the run was killed ({_name(-status)}); {self.resumes()}"
        return 1, f"{said}\nprocess {rank} of the run ended with status {status}; {self.resumes()}"

    def wait(self) -> None:
        """Let them finish what the first process has finished."""
        self._adopt()
        until = time.monotonic() + SECONDS_TO_FINISH
        while any(process.poll() is None for process in self.processes) and time.monotonic() < until:
            time.sleep(POLL / 4)

    def end(self) -> None:
        """End those that are left, and forget what all have said."""
        self.ended.set()
        self._adopt()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
