"""What goes wrong beside a training is one line, and the training goes on."""

import errno
import logging

import pytest

from shiftaddaug.report.harmless import harmless


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("broken"), "OSError: broken"),
        (ValueError("a line\n  and another"), "ValueError: a line and another"),
        (KeyError(), "KeyError"),
        (MemoryError(), "MemoryError"),
        (SystemExit(3), "SystemExit: 3"),
        (RuntimeError("x" * 1000), "RuntimeError: " + "x" * 200),
    ],
)
def test_an_error_is_a_warning(error: BaseException, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with harmless("the table could not be drawn"):
        raise error
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"the table could not be drawn ({reason})")
    ]


def test_an_interruption_gets_through() -> None:
    with pytest.raises(KeyboardInterrupt), harmless("never said"):
        raise KeyboardInterrupt


def test_what_goes_well_is_not_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    with harmless("never said"):
        pass
    assert not caplog.records
