"""What a search space fits at each resolution and width: a table, a file, a picture."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from shiftaddaug.files import write_csv, write_whole
from shiftaddaug.nas.tinynas import Setting
from shiftaddaug.report.harmless import harmless
from shiftaddaug.report.results import print_table, write_json

BEST_SHOWN = 10
"""Rows of the table in the terminal, and lines of the picture."""


def save_space(folder: Path, settings: Sequence[Setting], best: Setting, share: float) -> None:
    """Write space.json (what was chosen), space.csv (all of them) and space.png (how their MACs are distributed).

    Raises:
        UserError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [setting.record(share) for setting in settings]
    write_csv(folder / "space.csv", list(rows[0]), rows)
    write_json(folder / "space.json", {"chosen": best.record(share), "quantile": share, "drawn": best.drawn})
    with harmless("space.png could not be drawn"):
        _draw(folder / "space.png", _ranked(settings, share), best, share)


def print_space(title: str, settings: Sequence[Setting], best: Setting, share: float) -> None:
    """Print the settings that compute most, and how to train at the best one."""
    rows = [_shown(setting, best, share) for setting in _ranked(settings, share)]
    print_table(title, rows)
    print(f"chosen: data.image_size={best.image_size} net.width_mult={best.width_mult}")


def _ranked(settings: Sequence[Setting], share: float) -> list[Setting]:
    return sorted(settings, key=lambda each: -each.quantile(share))[:BEST_SHOWN]


def _shown(setting: Setting, best: Setting, share: float) -> dict[str, Any]:
    macs = setting.quantile(share)
    return {
        "image (px)": f"{setting.image_size}{' *' if setting is best else ''}",
        "width": f"{setting.width_mult:g}",
        "fitting": f"{100 * setting.fitting:.1f} %",
        f"MACs at {100 * share:g} %": f"{macs / 1e6:.2f} M" if macs else None,
        "least SRAM": f"{setting.least_sram_kib:.1f} KiB",
        "least Flash": f"{setting.least_flash_kib:.1f} KiB",
    }


def _draw(path: Path, settings: Sequence[Setting], best: Setting, share: float) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    for setting in settings:
        if len(setting.macs):
            label = f"{setting.image_size} px, width {setting.width_mult:g} ({100 * setting.fitting:.0f} % fit)"
            shares = np.arange(1, len(setting.macs) + 1) / len(setting.macs)
            axes.plot(setting.macs / 1e6, shares, label=label, linewidth=2.5 if setting is best else 1)
    axes.axhline(share, color="black", linestyle="--", linewidth=0.8)
    axes.set(xlabel="MACs (M)", ylabel="share of the networks that fit", title="what fits computes")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    png = BytesIO()
    figure.savefig(png, format="png", dpi="figure")
    write_whole(path, png.getvalue())
