"""What a stage of a search does not read is said."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from shiftaddaug.catalogue import PACKAGE_ONLY
from shiftaddaug.runs.no_effect_search import warn_of_stage
from shiftaddaug.runs.search_settings import read_search
from tests.commands.running import composed

ANY = ("draws=10", "search.sandwich=false", "search.evaluations=3", "space.operators=[shift]", "limits.flash_kib=90")


def said(folder: Path, caplog: pytest.LogCaptureFixture, *typed: str) -> Sequence[str]:
    warn_of_stage(read_search(composed(folder, "data=digits", *typed, config_name="search"), PACKAGE_ONLY), typed)
    return [message.removeprefix("no effect, because ") for message in caplog.messages]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (
            "space",
            [
                "stage=space scores nothing: search.sandwich=false, search.evaluations=3, limits.flash_kib=90",
                "in stage=space all networks multiply: space.operators=[shift]",
            ],
        ),
        (
            "supernet",
            [
                "stage=target reads it: search.evaluations=3, limits.flash_kib=90",
                "the supernet of search=two_stage multiplies, and stage=target reads it: space.operators=[shift]",
            ],
        ),
        (
            "target",
            [
                "stage=supernet has chosen resolution and width: draws=10",
                "stage=supernet reads it: search.sandwich=false",
            ],
        ),
    ],
)
def test_each_stage_says_what_it_does_not_read(
    stage: str, expected: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(tmp_path, caplog, f"stage={stage}", *ANY) == expected


def test_a_supernet_of_one_stage_reads_operators(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert said(tmp_path, caplog, "stage=supernet", "search=one_stage", "space.operators=[mult,shift]") == []


def test_the_mode_of_limits_needs_an_accelerator(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert said(tmp_path, caplog, "stage=target", "limits.mode=paper") == [
        "hardware=stm32f412 has no energy: limits.mode=paper"
    ]
    caplog.clear()
    assert said(tmp_path, caplog, "stage=target", "limits.mode=paper", "hardware=eyeriss_168") == []
