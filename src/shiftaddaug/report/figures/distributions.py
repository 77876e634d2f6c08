"""Weights of a pair of nets before and after the remap that was fitted to them: densities, and their logarithms."""

from pathlib import Path
from typing import TYPE_CHECKING

from shiftaddaug.report.results import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DISTRIBUTIONS = "distributions.json"


def draw(folder: Path) -> "Figure | None":
    """Draw the panels of distributions.json (`report/distributions.py`) side by side, their logarithms below."""
    if not (folder / DISTRIBUTIONS).exists():
        return None
    panels = read_json(folder / DISTRIBUTIONS)["panels"]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7), dpi=100)
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.08, top=0.95, wspace=0.18, hspace=0.06)
    axes = figure.subplots(2, len(panels), sharex="col")
    for row, yscale in zip(axes, ("linear", "log"), strict=True):
        for ax, panel in zip(row, panels, strict=True):
            for i, (label, density) in enumerate(panel["densities"].items()):
                ax.stairs(density, panel["edges"], fill=i == 0, alpha=0.4 if i == 0 else 1.0, label=label)
            for label, density in panel["curves"].items():
                ax.plot(panel["edges"], density, "k--", label=label)
            ax.set_yscale(yscale)
    for (above, below), panel in zip(axes.T, panels, strict=True):
        above.set(title=panel["title"], ylim=(0, 1.6 * max(next(iter(panel["densities"].values())))))
        above.legend(loc="upper right")
        below.set_xlabel(panel["label"])
    axes[0][0].set_ylabel("density")
    axes[1][0].set_ylabel("density, logarithmic")
    return figure
