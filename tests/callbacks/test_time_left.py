"""Time left, with a clock of the test's own."""

import pytest

from shiftaddaug.callbacks import time_left
from shiftaddaug.callbacks.time_left import TimeLeft, shown_time


class _Clock:
    """Stands in for the `time` module."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(time_left, "time", clock)
    return clock


def steps(left: TimeLeft, clock: _Clock, *seconds: float) -> None:
    for each in seconds:
        clock.now += each
        left.step()


class TestTimeLeft:
    def test_nothing_is_known_before_a_step(self, clock: _Clock) -> None:
        assert TimeLeft().seconds(10) is None

    def test_the_first_step_counts_only_while_it_is_the_only_one(self, clock: _Clock) -> None:
        left = TimeLeft()
        steps(left, clock, 30.0)
        assert left.seconds(10) == 300
        steps(left, clock, 2.0, 4.0)
        assert left.seconds(10) == 30

    def test_a_validation_is_judged_by_its_batches_until_there_was_one(self, clock: _Clock) -> None:
        left = TimeLeft(validated=0.5)
        steps(left, clock, 30.0, 6.0)
        assert left.seconds(10) == pytest.approx(10 * (6 + 0.5 * 6 / 3))

    def test_pauses_are_spread_over_the_steps_before_them(self, clock: _Clock) -> None:
        left = TimeLeft(validated=0.5)
        steps(left, clock, 30.0, 1.0, 1.0, 1.0)
        left.pause()
        clock.now += 8.0
        left.pause()  # the epoch ends after its validation
        left.resume()
        assert left.seconds(4) == 4 * (1 + 8 / 4)
        steps(left, clock, 1.0, 1.0, 1.0, 1.0)
        assert left.seconds(0) == 0  # nothing says that a pause follows
        left.pause()
        clock.now += 3.0
        assert left.seconds(0) == 8 - 3
        clock.now += 50.0
        assert left.seconds(0) == 0


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(0.2, "0:00"), (59.6, "1:00"), (65, "1:05"), (7384, "2:03:04"), (273900, "3 d 04:05")],
)
def test_a_time_is_shown_as_a_clock_does(seconds: float, wanted: str) -> None:
    assert shown_time(seconds) == wanted
