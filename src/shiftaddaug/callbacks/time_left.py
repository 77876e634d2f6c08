"""How long the rest of a training takes, judged by what it has taken so far. Imports no torch."""

import time

VALIDATED = 1 / 3
"""Time of a validation's batch as a share of a training step: a step goes forward, and backward for twice as long."""


class TimeLeft:
    """Seconds that a training still takes: its steps, and the pauses between them in which it validates and saves.

    The first step pays for lazy initialisation. It counts only as long as there is no other.

    Args:
        validated: batches of validation for each training batch, by which a pause is judged before there was one.
    """

    def __init__(self, validated: float = 0.0) -> None:
        self._validated = validated
        self._mark = time.perf_counter()
        self._steps, self._first, self._others = 0, 0.0, 0.0
        self._pausing_since: float | None = None
        self._steps_before_pause, self._paused = 0, 0.0

    def resume(self) -> None:
        """Note that the next step begins: an epoch does, or a validation within one has ended."""
        self._mark = time.perf_counter()
        if self._pausing_since is not None:
            self._paused += self._mark - self._pausing_since
            self._pausing_since, self._steps_before_pause = None, self._steps

    def step(self) -> None:
        """Note that a step has ended."""
        now = time.perf_counter()
        if self._steps:
            self._others += now - self._mark
        else:
            self._first = now - self._mark
        self._steps += 1
        self._mark = now

    def pause(self) -> None:
        """Note that no step is made from the end of the last one on."""
        if self._pausing_since is None:
            self._pausing_since = self._mark

    def seconds(self, steps: float) -> float | None:
        """Return how many seconds are left, given how many steps are; None before the first step has ended."""
        if not self._steps:
            return None
        step = self._others / (self._steps - 1) if self._steps > 1 else self._first
        pause = self._validated * VALIDATED * step
        if self._steps_before_pause:
            pause = self._paused / self._steps_before_pause
        left = steps * (step + pause)
        if self._pausing_since is not None:
            expected = pause * (self._steps - self._steps_before_pause)
            left += max(0.0, expected - (time.perf_counter() - self._pausing_since))
        return left


def shown_time(seconds: float) -> str:
    """Return seconds as `1:05`, `2:03:04` or `3 d 04:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, of_day = divmod(hours, 24)
    if days:
        return f"{days} d {of_day:02d}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
