"""Effective rank of each block's features and relative step of each layer's weights, over the epochs of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.report.recorded import title_of
from shiftaddaug.report.results import as_number, epoch_of, read_history, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIAGNOSTICS = "diagnostics.csv"
GREY = "0.6"
RANK, STEP = "effective rank ", "relative update "
"""Beginnings of the names of what is drawn; a block's or a layer's name follows."""


def draw(folder: Path) -> "Figure | None":
    """Draw ranks on the left, as shares of what they can be, and steps on the right, with one colour for each block.

    Layers of no block, such as the stem, are grey.
    """
    values = read_history(folder, DIAGNOSTICS, read_diagnostics) if (folder / DIAGNOSTICS).exists() else {}
    ranks = {name.removeprefix(RANK): series for name, series in values.items() if name.startswith(RANK)}
    steps = {name.removeprefix(STEP): series for name, series in values.items() if name.startswith(STEP)}
    if not (ranks or steps):
        return None
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 4.5), dpi=100)
    figure.subplots_adjust(left=0.05, right=0.88, bottom=0.11, top=0.93, wspace=0.2)  # a layout engine is slow
    left, right = figure.subplots(1, 2)
    shades = matplotlib.colormaps["viridis"]
    colours = {block: shades(i / max(1, len(ranks) - 1)) for i, block in enumerate(ranks)}
    for block, series in ranks.items():
        _plot(left, series, color=colours[block], label=block)
    for layer, series in steps.items():
        colour = next((colours[block] for block in ranks if layer.startswith(f"{block}.")), GREY)
        _plot(right, series, color=colour)
    left.set(ylabel="effective rank / largest possible", ylim=(0, 1.03))
    right.set(ylabel="relative update in the epoch's first step")
    if any(value > 0 for series in steps.values() for value in series.values()):
        right.set_yscale("log")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    left.plot([], [], color=GREY, label="other layers")
    figure.suptitle(title_of(folder), fontsize="medium")
    figure.legend(loc="upper right", fontsize="small" if len(ranks) < 20 else "x-small", ncols=1 + len(ranks) // 30)
    return figure


def read_diagnostics(path: Path) -> dict[str, dict[int, float]]:
    """Values by name and epoch of a diagnostics.csv: shares of the largest rank, and relative steps."""
    values: dict[str, dict[int, float]] = {}
    for row in read_rows(path):
        epoch, name = epoch_of(row), row.get("name")
        if epoch is None or not name:
            continue
        rank, most, step = (as_number(row.get(key)) for key in ("effective_rank", "max_rank", "relative_update"))
        if rank is not None and most:
            values.setdefault(RANK + name, {})[epoch] = rank / most
        if step is not None:
            values.setdefault(STEP + name, {})[epoch] = step
    return values


def _plot(axes: Any, series: Mapping[int, float], **style: Any) -> None:
    axes.plot(list(series), list(series.values()), marker=".", linewidth=1, **style)
