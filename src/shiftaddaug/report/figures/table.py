"""The ablation's table as bars, a panel for each operator: the mean of each row, its spread, and every seed."""

from pathlib import Path
from typing import TYPE_CHECKING

from shiftaddaug.report.ablation import LENGTH
from shiftaddaug.report.results import as_number, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, RUNS, SPLIT = "table.csv", "runs.csv", "test "
BAR = "#8fb3d9"
"""The colour of bars."""


def draw(folder: Path) -> "Figure | None":
    """Draw the rows of table.csv that have a result: the standard deviation where there are several seeds, a dot for
    each seed (runs.csv), and a line at the baseline's mean."""
    rows = read_rows(folder / TABLE) if (folder / TABLE).exists() else []
    column = next((name for row in rows for name in row if name.startswith(SPLIT)), SPLIT)
    bars = {(row["op"], row["row"]): (row.get(column) or "").split(" ± ") for row in rows}
    bars = {name: cells for name, cells in bars.items() if as_number(cells[0]) is not None}
    if not bars:
        return None
    from matplotlib.figure import Figure

    ops = list(dict.fromkeys(op for op, _ in bars))
    baseline = {row["op"]: row["row"] for row in rows if row.get("gain") == "" and LENGTH not in row["row"]}
    seeds = _seeds(folder / RUNS)
    width = max(5.0, 0.55 * max(sum(op == other for other, _ in bars) for op in ops))
    figure = Figure(figsize=(width * len(ops), 4.2), dpi=120)
    for op, axes in zip(ops, figure.subplots(1, len(ops), squeeze=False, sharey=True)[0], strict=True):
        ours = {row: cells for (other, row), cells in bars.items() if other == op}
        axes.bar(range(len(ours)), [float(cells[0]) for cells in ours.values()], color=BAR)
        for i, (row, cells) in enumerate(ours.items()):
            if len(cells) > 1:
                axes.errorbar(i, float(cells[0]), yerr=float(cells[1]), capsize=4, color="black", linewidth=1)
            dots = seeds.get((op, row), [])
            axes.plot([i] * len(dots), dots, "o", markersize=3, color="black", alpha=0.6)
        if baseline.get(op) in ours:
            axes.axhline(float(ours[baseline[op]][0]), color="black", linestyle="--", linewidth=0.8)
        axes.set_xticks(range(len(ours)), list(ours))
        axes.set(title=f"op={op}", ylabel=column)
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    figure.suptitle(f"{column}: {_count(rows)}, a dot each; dashed: the baseline", fontsize="medium")
    figure.tight_layout()
    return figure


def _seeds(path: Path) -> dict[tuple[str, str], list[float]]:
    """Return the test result of each run of a runs.csv, by operator and row."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in read_rows(path) if path.exists() else []:
        key = next((name for name in run if name.startswith(SPLIT.strip())), "")
        value = as_number(run.get(key))
        if value is not None:
            found.setdefault((run["op"], run["row"]), []).append(value)
    return found


def _count(rows: list[dict[str, str]]) -> str:
    """Return how many seeds the rows have, in words."""
    counts = sorted({int(row["seeds"]) for row in rows if row.get("seeds", "").isdigit()})
    shown = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0] if counts else 0)
    return "1 seed" if shown == "1" else f"{shown} seeds"
