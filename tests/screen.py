"""A terminal of a given size that a test looks at: what its screen shows, and what has scrolled out of it."""

import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import pyte


class Screen:
    """What a terminal has received so far, to be read once the streams into it are closed."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.received = ""
        self._screen: Any = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.ByteStream(self._screen)

    def lines(self) -> list[str]:
        """Return all lines, scrolled out ones first, up to the last that is not empty."""
        above = ["".join(line[column].data for column in range(self.columns)) for line in self._screen.history.top]
        lines = [line.rstrip() for line in [*above, *self._screen.display]]
        return lines[: max((i + 1 for i, line in enumerate(lines) if line), default=0)]

    def read_all(self, end: int) -> None:
        """Take what comes until the other end is closed."""
        try:
            while received := os.read(end, 65536):
                self.received += received.decode()
                self._stream.feed(received)
        except OSError:  # so Linux says that it is
            pass
        finally:
            os.close(end)


@contextmanager
def terminal(columns: int, rows: int = 10) -> Iterator[tuple[TextIO, Screen]]:
    """Yield a stream into a terminal, and its screen, which is to be read after the context."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    screen = Screen(columns, rows)
    reader = threading.Thread(target=screen.read_all, args=(ours,))
    reader.start()
    try:
        with os.fdopen(theirs, "w", buffering=1) as stream:
            yield stream, screen
    finally:
        reader.join()
