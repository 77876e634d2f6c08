"""Losses and the headline figure over the epochs of a run, those of runs that it resumed among them."""

from pathlib import Path
from typing import TYPE_CHECKING

from shiftaddaug.report.recorded import headline_in, title_of
from shiftaddaug.report.results import METRICS, read_history

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSSES = ("train/loss", "train/loss_aug", "val/loss")


def draw(folder: Path) -> "Figure | None":
    """Draw a line for each metric; nothing before the run's first epoch has ended."""
    metrics = read_history(folder) if (folder / METRICS).exists() else {}
    if "train/loss" not in metrics:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    headline = headline_in(folder)
    panels = {"loss": LOSSES, headline.title: (f"train/{headline.name}", f"val/{headline.name}")}
    figure = Figure(figsize=(5 * len(panels), 4), dpi=100, layout="constrained")
    for axes, (label, names) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for name in names:
            if name in metrics:
                axes.plot(list(metrics[name]), list(metrics[name].values()), marker=".", label=name)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend()
    figure.suptitle(title_of(folder), fontsize="medium")
    return figure
