"""Which classes a network takes for which: shares of each class's images, by what was predicted of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from shiftaddaug.report.answers import CONFUSION, LABEL
from shiftaddaug.report.recorded import title_of
from shiftaddaug.report.results import as_number, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMES, MOST_NUMBERS = 60, 20
"""Classes up to which their names are written, and up to which shares are written as numbers, too."""


def draw(folder: Path) -> "Figure | None":
    """Draw the matrix, a row for each class; nothing where there is no confusion.csv."""
    rows = read_rows(folder / CONFUSION) if (folder / CONFUSION).exists() else []
    if not rows:
        return None
    import numpy as np
    from matplotlib.figure import Figure

    names = [name for name in rows[0] if name != LABEL]
    counts = np.array([[as_number(row[name]) or 0 for name in names] for row in rows])
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    side = 3.5 + 0.25 * min(len(names), MOST_NAMES)
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the label's images")
    axes.set(xlabel="predicted", ylabel="label", title=title_of(folder) or "confusion matrix")
    if len(names) <= MOST_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize="small")
        axes.set_yticks(range(len(names)), names, fontsize="small")
    if len(names) <= MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column]:
                colour = "white" if share > 0.5 else "black"
                text = f"{100 * share:.0f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="x-small")
    return figure
