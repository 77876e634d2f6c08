"""The time that is left of a study, by hand."""

import pytest

from shiftaddaug.report.progress import StudyProgress, duration, scored


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (42, "42 s"),
        (60, "1 min"),
        (185.4, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (86400 + 4 * 3600, "1 d 4 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_what_is_left_goes_by_kind() -> None:
    progress = StudyProgress(["direct", "full", "direct", "full"], jobs=1, done={"full": [300.0, 500.0]})
    assert progress.ended("direct", 100) == "1 of 4 done, about 15 min left"  # 400 + 100 + 400 s
    assert progress.ended("full", 100) == "2 of 4 done, about 6 min 40 s left"  # 100 + 300 s
    assert progress.ended("direct", 100) == "3 of 4 done, about 5 min left"
    assert progress.ended("full", 100) == "4 of 4 done"


def test_kinds_that_are_new_take_as_long_as_others_and_several_run_at_once() -> None:
    progress = StudyProgress(["a", "b", "c", "d", "e"], jobs=2)
    assert progress.ended("a", 60) == "1 of 5 done, about 2 min left"


def test_scores() -> None:
    assert scored({"test_top1_percent": 12.5, "val_top1_percent": 13.0}) == "top-1 12.50 % (test)"
    assert scored({"val_top1_percent": 13.0}) == "top-1 13.00 % (val)"
    assert scored({}) == ""
