"""What stands in results.json, tables and drawings of a figure."""

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.tasks.figures import LOSS, PERCENT, Figure, figures_in, record_of

TOP1 = Figure("top1", "top-1", PERCENT, digits=2)
ERROR = Figure("error", "mean error", "px", better="min", digits=3)
PLAIN = Figure("r2", "R2")


@pytest.mark.parametrize(
    ("figure", "key", "column", "axis"),
    [
        (TOP1, "val_top1_percent", "val top-1 %", "val top-1, %"),
        (ERROR, "val_error_px", "val mean error px", "val mean error, px"),
        (PLAIN, "val_r2", "val R2", "val R2"),
        (LOSS, "val_loss", "val loss", "val loss"),
        (Figure("speed", "speed", "m/s"), "val_speed_m_s", "val speed m/s", "val speed, m/s"),
    ],
)
def test_keys_and_titles(figure: Figure, key: str, column: str, axis: str) -> None:
    assert (figure.key("val"), figure.column("val"), figure.axis("val")) == (key, column, axis)


@pytest.mark.parametrize(
    ("figure", "value", "recorded", "written"),
    [(TOP1, 0.93456, 93.46, "93.46 %"), (ERROR, 1.23456, 1.235, "1.235 px"), (LOSS, 0.123456, 0.1235, "0.1235")],
)
def test_values(figure: Figure, value: float, recorded: float, written: str) -> None:
    assert figure.recorded(value) == recorded
    assert figure.written(recorded) == written
    assert figure.measured(recorded) == pytest.approx(value, abs=1e-3)


def test_gains_are_positive_where_it_is_better() -> None:
    assert TOP1.gain(91.0, 90.0) == 1.0
    assert ERROR.gain(1.0, 3.0) == 2.0


def test_what_a_run_records_comes_back() -> None:
    recorded = record_of((TOP1, ERROR), ERROR)
    assert recorded["headline"] == "error"
    assert figures_in(recorded) == {"top1": TOP1, "error": ERROR}
    assert figures_in({"val_top1_percent": 50.0}) == {}  # of a run that is older than these descriptions
    recorded["figures"][0]["colour"] = "red"  # of a run that is newer
    assert figures_in(recorded)["top1"] == TOP1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "Top 1"}, "figure Top 1: must be called by small letters"),
        ({"better": "up"}, "figure a: better=up: no such option; options: max, min"),
        ({"digits": -1}, "figure a: digits=-1: must be a whole number"),
        ({"title": float("nan")}, "figure a: title=nan: must be a word"),
        ({"unit": {}}, "figure a: unit={}: must be a word"),
        ({"training": []}, "figure a: training=\\[\\]: must be true or false"),
        ({"better": []}, "figure a: better=\\[\\]: must be a word"),
    ],
)
def test_mistakes(keys: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        Figure(**{"name": "a", "title": "a", **keys})  # type: ignore[arg-type]
