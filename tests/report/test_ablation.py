"""The ablation's table against numbers worked out by hand."""

from pathlib import Path
from typing import Any

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.report.ablation import summarise, write_tables
from shiftaddaug.tasks.figures import Figure, record_of


def run(row: str, test: float, train: float | None = 50.0, op: str = "add") -> dict[str, Any]:
    percent = {"test_top1_percent": test, "val_top1_percent": test + 1, "train_top1_percent": train}
    return {"row": row, "op": op, "params": 7, "macs": 9, **percent}


def test_means_spreads_and_gains() -> None:
    rows = summarise([run("a", 10.0), run("a", 12.0), run("a", 14.0), run("b", 15.0), run("b", 17.0)], "a")
    assert [(row["row"], row["seeds"], row["test top-1 %"]) for row in rows] == [
        ("a", 3, "12.00 ± 2.00"),
        ("b", 2, "16.00 ± 1.41"),
    ]
    assert (rows[0]["gain"], rows[1]["gain"]) == ("", "+4.00 ± 1.53")  # sqrt(4 / 3 + 2 / 2)
    assert rows[1]["val top-1 %"] == "17.00 ± 1.41"


def test_gains_stay_within_an_operator() -> None:
    rows = summarise([run("a", 10.0), run("b", 13.0), run("b", 30.0, op="shift")], "a")
    assert [(row["op"], row["row"], row["gain"]) for row in rows] == [
        ("add", "a", ""),
        ("add", "b", "+3.00"),
        ("shift", "b", ""),
    ]


def test_a_lower_error_is_a_gain() -> None:
    error = Figure("error", "mean error", "px", better="min", digits=1)
    described = record_of((error,), error)
    runs = [{"op": "add", "row": row, "params": 7, "macs": 9, "test_error_px": value} | described
            for row, value in (("a", 3.0), ("a", 5.0), ("b", 1.0))]  # fmt: skip
    rows = summarise(runs, "a")
    assert [row["test mean error px"] for row in rows] == ["4.0 ± 1.4", "1.0"]
    assert [row["gain"] for row in rows] == ["", "+3.0"]


def test_runs_of_several_headlines_make_no_table() -> None:
    error = Figure("error", "mean error")
    with pytest.raises(UserError, match=r"^folder: its runs have several headline figures \(top1, error\)"):
        summarise([run("a", 10.0), run("b", 11.0) | record_of((error,), error)], "a")


def test_missing_numbers_are_left_out() -> None:
    assert summarise([run("a", 10.0, None), run("a", 11.0, 40.0)], "a")[0]["train top-1 %"] == "40.00"


def test_gains_at_equal_time_are_over_the_baseline_that_trains_as_long() -> None:
    results = [run("a", 10.0), run("b", 15.0), run("b", 17.0), run("a@16", 14.0), run("a@16", 15.0)]
    timed = [result | {"train_seconds": 10.4} for result in results]
    rows = summarise(timed, "a", {("add", "b"): "a@16", ("add", "a"): None, ("add", "a@16"): None})
    assert [(row["row"], row["gain at equal time"], row["s"]) for row in rows] == [
        ("a", "", 10),
        ("b", "+1.50 ± 1.12", 10),  # sqrt(2 / 2 + 0.5 / 2)
        ("a@16", "", 10),
    ]
    assert "gain at equal time" not in summarise(results[:3], "a", {("add", "b"): "a@16"})[0]


def test_files(tmp_path: Path) -> None:
    results = [run("a", 10.0), run("a", 12.0), run("b", 11.0, op="shift")]
    write_tables(tmp_path, summarise(results, "a"))
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[1].startswith("add,a,2,11.00 ± 1.41")
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[2].startswith("| add | a | 2 | 11.00 ± 1.41 |")
