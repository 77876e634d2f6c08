"""Standard output whose reader may go away: `python src/train.py | head` costs no training. Imports no torch."""

import errno
import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from shiftaddaug.errors import reason_of
from shiftaddaug.terminal import StatusLine

log = logging.getLogger(__name__)


@contextmanager
def enduring_output() -> Iterator[None]:
    """Drop what a command prints once nobody reads it any more, or while the disk that it goes to is full.

    Characters that an encoding other than UTF-8 lacks are written as escapes: a table that cannot be printed ended a
    study otherwise. A run goes on; its train.log has it all. Whoever shows how far it is does so in
    `sys.stderr.status_line`, which both streams make room for.
    """
    raises, logging.raiseExceptions = logging.raiseExceptions, False  # of a train.log that cannot be written
    line = StatusLine(sys.stderr)
    with redirect_stdout(_enduring(sys.stdout, line)), redirect_stderr(_enduring(sys.stderr, line)):
        try:
            yield
        finally:  # while failures are still dropped
            line.clear()
            logging.raiseExceptions = raises
            print(end="", flush=True)
            print(end="", flush=True, file=sys.stderr)


@contextmanager
def answering_threads() -> Iterator[None]:
    """Say in one line what a thread in the background could not read or write, as that of a logger on a full disk.

    Others keep their traceback.
    """

    def answer(failure: threading.ExceptHookArgs) -> None:
        if isinstance(failure.exc_value, OSError):
            log.warning("a thread in the background failed (%s)", reason_of(failure.exc_value))
        else:
            before(failure)

    before, threading.excepthook = threading.excepthook, answer
    try:
        yield
    finally:
        threading.excepthook = before


def _enduring(stream: TextIO | None, line: StatusLine) -> TextIO:
    return cast(TextIO, stream if stream is None else _Enduring(stream, line))


class _Enduring:
    """A stream whose failures to write are nobody's mistake, beside a line that makes room for what it writes."""

    def __init__(self, stream: TextIO, line: StatusLine) -> None:
        self._stream = stream
        self.status_line = line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._dropping(), self.status_line.giving_way(text, self._stream):
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:  # a terminal of another encoding has no ± or é
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno == errno.EPIPE:  # what is still in the buffers has to go somewhere
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
