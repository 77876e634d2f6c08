"""What is drawn, logged or tabulated never costs the target."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from shiftaddaug.errors import UserError, reason_of

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
    return error.strerror if isinstance(error, OSError) and error.strerror else reason_of(error, 200)
