"""The log file of a command (train.log): it also has what the terminal is told by other ways. Imports no torch."""

import logging
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def note(text: str, level: int = logging.INFO) -> None:
    """Write a text into the log files of this process, and not on the terminal.

    Of several processes of a run the first one does so: the others tell it what they have met.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    logger = logging.getLogger(__name__)
    record = logger.makeRecord(__name__, level, __file__, 0, text, (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and level >= handler.level:
            handler.handle(record)


def note_result(title: str, result: Mapping[str, object]) -> None:
    """Write a result into the log files, a line for each of its values."""
    width = max(map(len, result), default=0)
    note("\n".join([title, *(f"  {key:{width}}  {value}" for key, value in result.items())]))


@contextmanager
def noting_failures() -> Iterator[None]:
    """Write into the log files what ends the work inside: the traceback of a bug, or that it was interrupted."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        note("; ".join(["interrupted", *map(str, interrupt.args)]), logging.ERROR)
        raise
    except Exception:
        note(traceback.format_exc().rstrip(), logging.ERROR)
        raise
