"""What the log file of a command has besides what is logged."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from shiftaddaug.report.log_file import note, note_result, noting_failures


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    handler = logging.FileHandler(tmp_path / "train.log")
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    yield tmp_path / "train.log"
    logging.getLogger().removeHandler(handler)
    handler.close()


def test_a_note_is_for_the_file_alone(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        note("100 % {done}", logging.ERROR)
    assert file.read_text() == "ERROR 100 % {done}\n"
    assert caplog.records == []


def test_a_result_has_a_line_for_each_value(file: Path) -> None:
    note_result("a run", {"params": "1,234", "top-1 (test)": "93.50 %"})
    assert file.read_text() == "INFO a run\n  params        1,234\n  top-1 (test)  93.50 %\n"


def test_a_bug_has_its_traceback(file: Path) -> None:
    with pytest.raises(ZeroDivisionError), noting_failures():
        _ = 1 / 0
    text = file.read_text()
    assert text.startswith("ERROR Traceback (most recent call last):\n") and text.endswith("division by zero\n")


def test_an_interrupt_says_how_to_go_on(file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), noting_failures():
        raise KeyboardInterrupt("ckpt_path=a resumes")
    assert file.read_text() == "ERROR interrupted; ckpt_path=a resumes\n"


def test_what_is_answered_already_is_no_failure(file: Path) -> None:
    with pytest.raises(SystemExit), noting_failures():
        raise SystemExit(2)
    assert file.read_text() == ""


def test_the_first_process_speaks_for_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    note("a line")
    assert file.read_text() == ""
