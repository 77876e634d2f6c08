"""How a command imports torch. Imports none itself."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing_torch() -> Iterator[None]:
    """Keep the garbage collector away from what is imported here, now and later: all of it stays.

    Looking it through takes a fifth of the time of importing torch and lightning. Nothing is done where torch was
    imported before.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
        atexit.register(gc.unfreeze)  # extension modules that count what they leave behind would complain
    finally:
        gc.enable()
