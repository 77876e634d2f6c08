"""The ablation's table: mean and spread over seeds of every row, and its gain over the baseline. From recorded runs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.files import write_csv, write_whole
from shiftaddaug.report.recorded import SPLITS, columns, headline_of
from shiftaddaug.tasks.figures import Figure

LENGTH = "@"
"""Part of a row's name: how many epochs its runs have, where these are not the study's (`mf_direct@24`)."""


def summarise(
    results: Sequence[Mapping[str, Any]], baseline: str, as_long: Mapping[tuple[str, str], str | None] = {}
) -> list[dict[str, Any]]:
    """One row for each (op, row), in the order of first appearance.

    Args:
        results: of runs, with `op` and `row` added.
        baseline: the row that gains are measured from, within an operator.
        as_long: the row that trains as long as (op, row) does, and is the baseline in all else.

    Returns:
        Rows with the number of seeds, "mean ± sample standard deviation" of the headline figure on each split, the
        gain on the test split (positive is better) with its standard error sqrt(s1^2/n1 + s2^2/n2), the gain at equal
        time where such a baseline has been trained, what the deployed target costs, and the mean time of training.

    Raises:
        UserError: runs of several headline figures.
    """
    if not results:
        return []
    headline = headline_of_all(results)
    keys = list(dict.fromkeys((r["op"], r["row"]) for r in results))
    groups = {key: [r for r in results if (r["op"], r["row"]) == key] for key in keys}
    timed = any(longer in {row for _, row in keys} - {baseline} for longer in as_long.values())
    rows = []
    for (op, row), runs in groups.items():
        line: dict[str, Any] = {"op": op, "row": row, "seeds": len(runs)}
        for title, key in columns([headline], SPLITS).items():
            line[title] = mean_and_spread(_values(runs, key), headline)
        line["gain"] = _gain(runs, groups.get((op, baseline), []), headline) if row != baseline else ""
        if timed:
            longer = groups.get((op, as_long.get((op, row)) or ""), [])
            line["gain at equal time"] = _gain(runs, longer, headline) if row != baseline else ""
        seconds = _values(runs, "train_seconds")
        line |= {"params": runs[0]["params"], "MACs": runs[0]["macs"]}
        line["s"] = round(statistics.mean(seconds)) if seconds else ""
        rows.append(line)
    return rows


def headline_of_all(results: Sequence[Mapping[str, Any]]) -> Figure:
    """The headline figure that all runs share.

    Raises:
        UserError: they have several.
    """
    headlines = list(dict.fromkeys(headline_of(result) for result in results))
    if len(headlines) > 1:
        names = ", ".join(figure.name for figure in headlines)
        raise UserError(f"folder: its runs have several headline figures ({names}), which make no table")
    return headlines[0]


def _values(runs: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [run[key] for run in runs if run.get(key) is not None]


def mean_and_spread(values: Sequence[float], figure: Figure) -> str:
    """Return `mean ± sample standard deviation`, the mean alone of one value, nothing of none."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{figure.digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{figure.digits}f}{spread}"


def _gain(runs: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]], figure: Figure) -> str:
    ours, theirs = (_values(group, figure.key(SPLITS[0])) for group in (runs, baseline))
    if not ours or not theirs:
        return ""
    gain = f"{figure.gain(statistics.mean(ours), statistics.mean(theirs)):+.{figure.digits}f}"
    if min(len(ours), len(theirs)) < 2:
        return gain
    error = math.sqrt(statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs))
    return f"{gain} ± {error:.{figure.digits}f}"


FIRST_COLUMNS = ("op", "row", "seed")
LAST_COLUMNS = ("params", "macs", "epochs", "train_seconds", "git_commit", "code")
"""Columns of runs.csv before and after those of the headline figure."""


def write_runs(folder: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """runs.csv: a line for each run, with nothing that names the machine."""
    figures = columns([headline_of_all(results)], SPLITS).values()
    write_csv(folder / "runs.csv", (*FIRST_COLUMNS, *figures, *LAST_COLUMNS), results)


def write_tables(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """table.csv and table.md."""
    write_csv(folder / "table.csv", list(rows[0]), rows)
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    write_whole(folder / "table.md", "\n".join(lines) + "\n")
