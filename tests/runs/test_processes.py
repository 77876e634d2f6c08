"""One process speaks for all: what it tells when another one ends, and what the others tell when it is gone."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.runs import processes
from shiftaddaug.runs.processes import FOLDER, leading

FOLLOWER = (
    "import os, sys, time; from shiftaddaug.runs.processes import follow; follow(); print('noise', flush=True);"
    "print('noise', file=sys.stderr, flush=True);"
)
MISTAKE = "print('error: paths.x=1: must be 2', file=sys.stderr); sys.exit(2)"


@pytest.fixture(autouse=True)
def no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(processes, "SECONDS_TO_ANSWER", 4.0)


def start(*codes: str) -> list[Any]:
    environments = ({**os.environ, "LOCAL_RANK": str(rank)} for rank in range(1, len(codes) + 1))
    lines = ([sys.executable, "-c", FOLLOWER + code] for code in codes)
    return [subprocess.Popen(line, env=environment) for line, environment in zip(lines, environments, strict=True)]


def lead(
    folder: Path, *codes: str, then: Callable[[], object] = lambda: None, started: list[Any] | None = None
) -> None:
    launcher = SimpleNamespace(procs=[])
    with leading(launcher, folder / "last.ckpt", None):
        started = [] if started is None else started
        started += start(*codes)
        launcher.procs += started
        then()


def broken() -> None:
    """What a collective raises when another process is gone."""
    raise RuntimeError("Connection closed by peer")


def test_all_finish(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    started: list[Any] = []
    lead(tmp_path, "time.sleep(0.1)", "pass", started=started)
    assert [process.poll() for process in started] == [0, 0]
    assert capfd.readouterr() == ("", "") and FOLDER not in os.environ


def test_a_mistake_of_another_is_told_as_ones_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a third one says of the connection that it has lost."""
    with pytest.raises(UserError, match=r"^paths\.x=1: must be 2$"):
        lead(tmp_path, "raise RuntimeError('Connection closed')", MISTAKE, then=broken)
    assert capfd.readouterr() == ("", "")


def test_one_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(UserError, match=r"process 1 .* was killed \(SIGKILL\); ckpt_path=.*last\.ckpt resumes"):
        lead(tmp_path, "os.kill(os.getpid(), 9)", then=broken)


def test_a_bug_of_another_keeps_its_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        lead(tmp_path, "1 / 0", then=broken)
    assert ended.value.code == 1
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_bug_of_ones_own_ends_the_others(tmp_path: Path) -> None:
    started: list[Any] = []
    with pytest.raises(RuntimeError, match="Connection"):
        lead(tmp_path, "time.sleep(60)", then=broken, started=started)
    assert [process.wait(5) for process in started] == [-9]


LEADER = """
import os, sys, time; from types import SimpleNamespace; from pathlib import Path
sys.path.insert(0, {root!r})
from tests.runs.test_processes import start, MISTAKE
from shiftaddaug.runs import processes
processes.SECONDS_TO_ANSWER = 1.0
launcher = SimpleNamespace(procs=[])
with processes.leading(launcher, Path({folder!r}) / "last.ckpt", None):
    launcher.procs += start({code})
    while len(list(Path(os.environ[processes.FOLDER]).glob("*.txt"))) < {count}:
        time.sleep(0.01)
    print("begun", flush=True)
    time.sleep(60)
"""


def leader(folder: Path, code: str) -> subprocess.Popen[str]:
    script = LEADER.format(
        root=str(Path(__file__).parents[2]), folder=str(folder), code=code, count=code.count(",") + 1
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", script], text=True, **pipes)


def test_one_that_waits_for_another_is_ended(tmp_path: Path) -> None:
    """As in a collective that never comes back."""
    process = leader(tmp_path, "MISTAKE")
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (2, "error: paths.x=1: must be 2\n")


def test_others_tell_when_the_first_is_killed(tmp_path: Path) -> None:
    process = leader(tmp_path, "'time.sleep(60)', 'time.sleep(60)'")
    assert process.stdout is not None and process.stdout.readline()
    process.kill()
    _, err = process.communicate(timeout=30)  # until the last of them has closed it
    told = "process 0 of the run is gone; no epoch had finished, so there is nothing to resume"
    assert err == f"error: trainer.devices: {told}\n"


def test_what_a_launcher_started_is_left_to_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    with leading(SimpleNamespace(procs=[]), tmp_path / "last.ckpt", None):
        assert FOLDER not in os.environ
