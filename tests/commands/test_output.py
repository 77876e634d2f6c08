"""Nobody has to read what a command prints."""

import os
import sys

import pytest

from shiftaddaug.commands.output import enduring_output


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


def test_nor_a_stream_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with enduring_output():
        print("a line")
    assert sys.stdout is None
