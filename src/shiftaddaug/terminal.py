"""A line at the bottom of a terminal that gives way to whatever else is written there. Imports no torch."""

import io
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from typing import TextIO

WIDEST = 79
"""Columns of a status line, where the terminal has as many."""
USUAL = 80
"""Columns of a terminal that does not say how many it has."""
PAUSE = 0.1
"""Seconds between two states of the line, and between other output and the line: what goes through a pipe to the same
terminal (`| tee`) arrives a little later."""
ERASE = "\r\x1b[K\x1b[C\x1b[J\r"
"""Clear the row, then the screen from its second column on: tmux would keep all of a screen that is cleared whole."""


@contextmanager
def bars_on_terminals_alone() -> Iterator[None]:
    """Drop what is written to stderr inside, such as the bar of a download, unless that is a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        yield
        return
    with redirect_stderr(io.StringIO()):
        yield


class StatusLine:
    """One line that says how far something is, on a terminal that others write to as well.

    The cursor waits at the line's beginning, so that all of it can be erased even where the terminal has become
    narrower meanwhile and folds the line. On what is no terminal (a file, a pipe, one without escape codes) the line is
    never shown.

    Args:
        stream: of the terminal.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._shown = False
        self._within_line = False
        self._since = -PAUSE

    @property
    def on_terminal(self) -> bool:
        """Whether there is a terminal to show the line on."""
        with suppress(OSError, ValueError):  # a stream that is closed
            return self._stream is not None and self._stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        return False

    def is_due(self) -> bool:
        """Whether the line may be shown again by now."""
        return self.on_terminal and not self._within_line and time.monotonic() - self._since >= PAUSE

    def show(self, texts: Sequence[str]) -> None:
        """Show the first text that fits into the terminal as wide as it is now; the last one is cut if none does."""
        width = self._width()
        text = next((text for text in texts if len(text) <= width), texts[-1][:width])
        with self._lock:
            if self.on_terminal and not self._within_line:
                self._write(f"{ERASE}{text}\r")
                self._shown = True

    def clear(self) -> None:
        """Take the line away, if it is shown."""
        with self._lock:
            if self._shown:
                self._shown = False
                self._write(ERASE)

    @contextmanager
    def giving_way(self, text: str, stream: TextIO) -> Iterator[None]:
        """Take the line away while `text` is written to a stream: to this terminal, or to what may end there."""
        with self._lock:
            self.clear()
            yield
            self._since = time.monotonic()
            if text and stream.isatty():
                self._within_line = not text.endswith(("\n", "\r"))

    def _width(self) -> int:
        columns = 0
        with suppress(OSError, ValueError):
            columns = 0 if self._stream is None else os.get_terminal_size(self._stream.fileno()).columns
        return min(WIDEST, (columns or USUAL) - 1)  # one less: some terminals go on to the next line after the last

    def _write(self, text: str) -> None:
        assert self._stream is not None
        self._since = time.monotonic()
        with suppress(OSError, ValueError):  # nobody has to see it
            self._stream.write(text)
            self._stream.flush()
