"""Standard output whose reader may go away: `python src/train.py | head` costs no training. Imports no torch."""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast


@contextmanager
def enduring_output() -> Iterator[None]:
    """Drop what a command prints once nobody reads it any more, or while the disk that it goes to is full.

    A run goes on; its train.log has it all.
    """
    with redirect_stdout(_enduring(sys.stdout)), redirect_stderr(_enduring(sys.stderr)):
        try:
            yield
        finally:  # while failures are still dropped
            print(end="", flush=True)
            print(end="", flush=True, file=sys.stderr)


def _enduring(stream: TextIO | None) -> TextIO:
    return cast(TextIO, stream if stream is None else _Enduring(stream))


class _Enduring:
    """A stream whose failures to write are nobody's mistake."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        with self._dropping():
            self._stream.writelines(lines)

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
