"""The ablation's table as bars: the test result of each row, its standard deviation, a panel for each operator."""

from pathlib import Path
from typing import TYPE_CHECKING

from shiftaddaug.report.results import as_number, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, SPLIT = "table.csv", "test "


def draw(folder: Path) -> "Figure | None":
    """Draw the rows of table.csv that have a result."""
    rows = read_rows(folder / TABLE) if (folder / TABLE).exists() else []
    column = next((name for row in rows for name in row if name.startswith(SPLIT)), SPLIT)
    bars = {(row["op"], row["row"]): (row.get(column) or "").split(" ± ") for row in rows}
    bars = {name: cells for name, cells in bars.items() if as_number(cells[0]) is not None}
    if not bars:
        return None
    from matplotlib.figure import Figure

    ops = list(dict.fromkeys(op for op, _ in bars))
    width = max(5.0, 0.55 * max(sum(op == other for other, _ in bars) for op in ops))
    figure = Figure(figsize=(width * len(ops), 4), dpi=120)
    for op, axes in zip(ops, figure.subplots(1, len(ops), squeeze=False, sharey=True)[0], strict=True):
        ours = {row: cells for (other, row), cells in bars.items() if other == op}
        means = [float(cells[0]) for cells in ours.values()]
        spreads = [float(cells[1]) if len(cells) > 1 else 0.0 for cells in ours.values()]
        axes.bar(list(ours), means, yerr=spreads, capsize=4)
        axes.set(title=f"op={op}", ylabel=column)
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    figure.tight_layout()
    return figure
