"""Nobody has to read what a command prints."""

import io
import logging
import os
import sys
import threading

import pytest

from shiftaddaug.commands.output import answering_threads, enduring_output
from shiftaddaug.report.results import print_table


def test_a_reader_that_goes_away_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with enduring_output():
            print("a line")
            assert os.read(reading, 100) == b"a line\n"
            os.close(reading)
            print("another")
            print("and one more", flush=True)
            assert not sys.stdout.isatty()


def test_neither_does_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "wb", buffering=0) as raw:
        stream = open(raw.fileno(), "w", buffering=1, closefd=False)  # noqa: SIM115
        monkeypatch.setattr(sys, "stderr", stream)
        with enduring_output():
            print("a line", file=sys.stderr, flush=True)
            sys.stderr.writelines(["more\n"])


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", r"1 \xb1 2 \u72ac"), ("latin-1", r"1 ± 2 \u72ac")])
def test_what_an_encoding_lacks_is_escaped(encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study is not ended by the ± of its table, which is printed before it is written."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with enduring_output():
        print_table("mean", [{"top-1": "1 ± 2 犬"}])
    assert shown in raw.getvalue().decode(encoding)


def test_nor_a_stream_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with enduring_output():
        print("a line")
    assert sys.stdout is None


def test_a_log_that_cannot_be_written_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("of a full disk")
    log.propagate = False
    log.addHandler(logging.FileHandler("/dev/full"))
    with enduring_output():
        log.warning("a line")
    assert capsys.readouterr().err == ""
    assert logging.raiseExceptions


def _run_in_background(error: Exception) -> None:
    def fail() -> None:
        raise error

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_background_thread_that_cannot_write_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.excepthook
    with answering_threads():
        _run_in_background(OSError(28, "No space left on device"))
        assert [record.getMessage() for record in caplog.records] == [
            "a thread in the background failed (No space left on device)"
        ]
        _run_in_background(ValueError("a bug"))
    assert len(caplog.records) == 1
    assert threading.excepthook is before
