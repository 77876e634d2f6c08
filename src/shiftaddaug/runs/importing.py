"""How a command imports: without the garbage collector, which would look through what stays. Imports no torch."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector away while a configuration is composed and checked: an eighth of that time.

    `importing_torch` lets it work again; so does the end.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def importing_torch() -> Iterator[None]:
    """Keep the garbage collector away from what is imported here, now and later: all of it stays.

    Looking it through takes a fifth of the time of importing torch and lightning. Afterwards the collector works;
    nothing else is done where torch was imported before.
    """
    if "torch" in sys.modules:
        gc.enable()
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
        atexit.register(gc.unfreeze)  # extension modules that count what they leave behind would complain
    finally:
        gc.enable()
