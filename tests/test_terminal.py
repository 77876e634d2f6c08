"""The line at the bottom of a terminal: it fits, gives way, and leaves nothing behind."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shiftaddaug import terminal as module
from shiftaddaug.commands.output import enduring_output
from shiftaddaug.terminal import StatusLine, bars_on_terminals_alone
from tests.screen import terminal

SRC = Path(__file__).resolve().parents[1] / "src"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setenv("TERM", "xterm")


class TestStatusLine:
    @pytest.mark.parametrize(
        ("columns", "wanted"), [(220, "a" * 79), (100, "a" * 79), (79, "b" * 30), (31, "b" * 30), (20, "c" * 19)]
    )
    def test_the_longest_text_that_fits_is_shown_in_one_row(self, columns: int, wanted: str) -> None:
        with terminal(columns) as (stream, screen):
            StatusLine(stream).show(["a" * 79, "b" * 30, "c" * 25])
        assert screen.lines() == [wanted]

    def test_it_is_replaced_and_cleared(self) -> None:
        with terminal(40) as (stream, screen):
            line = StatusLine(stream)
            line.show(["a long state"])
            line.show(["short"])
        assert screen.lines() == ["short"]
        with terminal(40) as (stream, screen):
            line = StatusLine(stream)
            line.show(["a long state"])
            line.clear()
        assert screen.lines() == []

    def test_a_terminal_that_does_not_know_its_width_has_80_columns(self) -> None:
        with terminal(0) as (stream, screen):
            StatusLine(stream).show(["a" * 90])
        assert f"{'a' * 79}\r" in screen.received and "a" * 80 not in screen.received

    @pytest.mark.parametrize("term", ["dumb", None])
    def test_a_terminal_without_escape_codes_never_shows_it(self, term: str | None, monkeypatch: object) -> None:
        with terminal(80) as (stream, screen), pytest.MonkeyPatch.context() as patch:
            patch.setenv("TERM", term) if term else patch.delenv("TERM")
            StatusLine(stream).show(["a"])
        assert screen.received == ""

    def test_neither_does_a_file_nor_a_closed_stream(self) -> None:
        file = io.StringIO()
        line = StatusLine(file)
        line.show(["a"])
        line.clear()
        assert file.getvalue() == "" and not line.is_due()
        file.close()
        assert not line.is_due() and not StatusLine(None).is_due()


def test_the_bar_of_a_download_is_for_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(60) as (stream, screen):
        for each in (file := io.StringIO(), stream):
            monkeypatch.setattr(sys, "stderr", each)
            with bars_on_terminals_alone():
                print("10 % of 170 MB", file=sys.stderr)
    assert (file.getvalue(), screen.lines()) == ("", ["10 % of 170 MB"])


class TestBesideOutput:
    def test_lines_of_both_streams_stand_whole_above_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with terminal(60) as (stream, screen):
            monkeypatch.setattr(sys, "stdout", stream)
            monkeypatch.setattr(sys, "stderr", stream)
            with enduring_output():
                line = sys.stderr.status_line  # type: ignore[attr-defined]
                for i in range(20):  # more than the screen has rows
                    line.show([f"state {i} " + 40 * "."])
                    print(f"out {i}")
                    line.show(["another state"])
                    sys.stderr.writelines([f"err {i}\n"])
        assert screen.lines() == [f"{name} {i}" for i in range(20) for name in ("out", "err")]

    def test_it_waits_for_the_end_of_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with terminal(60) as (stream, screen):
            monkeypatch.setattr(sys, "stdout", stream)
            monkeypatch.setattr(sys, "stderr", stream)
            with enduring_output():
                line = sys.stderr.status_line  # type: ignore[attr-defined]
                print("question? ", end="", flush=True)
                assert not line.is_due()
                line.show(["a state"])
                print("answer")
                assert line.is_due()
        assert screen.lines() == ["question? answer"]
        assert "state" not in screen.received

    def test_a_pipe_to_the_same_terminal_gets_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "PAUSE", 60.0)
        with terminal(60) as (stream, _):
            monkeypatch.setattr(sys, "stdout", io.StringIO())
            monkeypatch.setattr(sys, "stderr", stream)
            with enduring_output():
                line = sys.stderr.status_line  # type: ignore[attr-defined]
                assert line.is_due()
                print("to the pipe")
                assert not line.is_due()


SCRIPT = """
import subprocess, sys
from shiftaddaug import terminal
from shiftaddaug.commands.output import enduring_output
terminal.PAUSE = 0
def meet(name):
    subprocess.run(["tmux", "wait-for", "-S", name + "-reached"], check=True)
    subprocess.run(["tmux", "wait-for", name], check=True)
with enduring_output():
    print("filling\\n" * 30, end="")  # tmux scrolls what is near the top of an empty screen out of reach
    print("a line of output " * 8)
    sys.stderr.status_line.show(["x" * 79])
    meet("shown")
    print("another line")
    sys.stderr.status_line.show(["y" * 79, "narrow"])
    meet("shown-again")
meet("over")
"""


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
@pytest.mark.parametrize("columns", [220, 100, 79, 40])
def test_a_terminal_that_folds_long_lines_when_it_becomes_narrower(columns: int, tmp_path: Path) -> None:
    socket = str(tmp_path / "tmux")
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    environment.pop("TMUX", None)

    def tmux(*arguments: str) -> str:
        command = ["tmux", "-S", socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout

    def seen() -> list[str]:
        lines = tmux("capture-pane", "-p", "-J", "-S", "-").splitlines()
        return [line.rstrip() for line in lines if line.strip() not in ("", "filling")]

    (tmp_path / "script.py").write_text(SCRIPT)
    tmux("new-session", "-d", "-x", str(columns), "-y", "20", sys.executable, str(tmp_path / "script.py"))
    try:
        tmux("wait-for", "shown-reached")
        output = ("a line of output " * 8).rstrip()
        assert seen() == [output, "x" * min(79, columns - 1)]
        tmux("resize-window", "-x", "30")
        tmux("wait-for", "-S", "shown")
        tmux("wait-for", "shown-again-reached")
        assert seen() == [output, "another line", "narrow"]
        tmux("wait-for", "-S", "shown-again")
        tmux("wait-for", "over-reached")
        assert seen() == [output, "another line"]
    finally:
        tmux("kill-server")
