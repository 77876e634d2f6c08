"""Baselines that train as long as a row does: an epoch of one takes longer than of another. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shiftaddaug.report.ablation import LENGTH
from shiftaddaug.runs.cells import Cell


def longer_row(baseline: str, row: str, op: str, results: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name of the baseline's row that has as many epochs as fit into the time of another row.

    The smallest seed that has both decides: more seeds train no other lengths, unless a smaller one comes later.

    Args:
        baseline: the row without the mechanism.
        row: which is compared.
        op: of both.
        results: of finished runs, with `op`, `row` and `seed`.

    Returns:
        Its name, such as `mf_direct@24`; the baseline's where it has as many epochs; None where times are not known.
    """
    found = {each: {r["seed"]: r for r in results if (r["op"], r["row"]) == (op, each)} for each in (baseline, row)}
    both = sorted(found[baseline].keys() & found[row].keys())
    if not both or row == baseline or LENGTH in row:
        return None
    ours, theirs = (found[each][both[0]] for each in (row, baseline))
    times, epochs = [r.get("train_seconds") for r in (ours, theirs)], theirs.get("epochs")
    if not all(times) or not epochs:
        return None
    length = max(1, round(epochs * times[0] / times[1]))  # type: ignore[operator]
    return baseline if length == epochs else f"{baseline}{LENGTH}{length}"


def longer_baselines(cells: Sequence[Cell], baseline: str, results: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """Return the runs of the baseline that take as long as the rows of some cells.

    Args:
        cells: of the study.
        baseline: the row without the mechanism.
        results: of finished runs.
    """
    found = []
    for cell in cells:
        row = longer_row(baseline, cell.row, cell.op, results)
        if row is not None and row != baseline:
            folder = cell.folder.parents[1] / row / cell.folder.name
            found.append(replace(cell, row=row, folder=folder))
    return list(dict.fromkeys(found))
