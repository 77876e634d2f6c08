"""What a person sees of a study while it goes on: what each run scored, how long it took, and how long is left."""

import statistics
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from threading import Lock
from typing import Any

from shiftaddaug.report.recorded import headline_of


class StudyProgress:
    """Estimate the time that is left from runs of the same kind, or from all where there is none yet.

    Args:
        waiting: the kind of each run that is to come; runs of a kind take about as long.
        jobs: runs at once.
        done: seconds of earlier runs, by kind.
    """

    def __init__(self, waiting: Sequence[Hashable], jobs: int, done: Mapping[Hashable, Sequence[float]] = {}) -> None:
        self._waiting, self._jobs, self._total = list(waiting), jobs, len(waiting)
        self._seconds: defaultdict[Hashable, list[float]] = defaultdict(list)
        for kind, seconds in done.items():
            self._seconds[kind] += seconds
        self._lock = Lock()

    def ended(self, kind: Hashable, seconds: float) -> str:
        """Take note of a run; return how many are done, and how long the others may take."""
        with self._lock:
            self._waiting.remove(kind)
            self._seconds[kind].append(seconds)
            left = self._left()
            done = f"{self._total - len(self._waiting)} of {self._total} done"
        return f"{done}, about {duration(left)} left" if self._waiting else done

    def _left(self) -> float:
        everything = [each for seconds in self._seconds.values() for each in seconds]
        means = [statistics.mean(self._seconds[kind] or everything) for kind in self._waiting]
        return max(sum(means) / self._jobs, max(means, default=0.0))


def scored(results: Mapping[str, Any]) -> str:
    """Return what a finished run scored on the test set, or on validation, in words; empty if neither is there."""
    headline = headline_of(results)
    for split in ("test", "val"):
        value = results.get(headline.key(split))
        if value is not None:
            return f"{headline.title} {headline.written(value)} ({split})"
    return ""


def duration(seconds: float) -> str:
    """Return a time in the two largest of its units: `42 s`, `3 min 5 s`, `2 h 10 min`, `1 d 4 h`."""
    left, parts = round(seconds), list[str]()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or "0 s"
