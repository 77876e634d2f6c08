"""What is drawn, logged or tabulated never costs the target."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from shiftaddaug.errors import UserError

log = logging.getLogger(__name__)


@contextmanager
def harmless(failure: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into one warning; Ctrl-C alone gets through.

    Args:
        failure: what the warning says, such as "curves.png could not be written"; the reason is put behind it.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a plugin's author or a server's owner thought of
        log.warning("%s (%s)", failure, _reason(error))


def _reason(error: BaseException) -> str:
    if isinstance(error, UserError) and isinstance(error.__cause__, OSError):  # of a file that was not written
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
