"""What a step takes is what it is said to need, within the factor that is promised."""

import pytest
from memory import CASES, MOST, row_of


def test_the_cases_say_what_differs() -> None:
    assert len({*CASES}) == len(CASES)
    wanted = ("op=add", "op=shift", "op=mult", "sharing=heterogeneous", "aug.operator=same", "bf16-mixed", "64-true")
    assert all(any(word in case for case in CASES) for word in wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "op=mult aug=full data.batch_size=64",
        "op=add aug=expand sharing=heterogeneous data.batch_size=128",
        "op=shift aug=none data.batch_size=256 trainer.precision=bf16-mixed",
    ],
)
def test_a_step_takes_what_it_is_said_to_need(case: str) -> None:
    """In processes of their own, of several hundred MiB: what torch loads for the first time counts for less."""
    assert 1 / MOST <= row_of(case)["ratio"] <= MOST
