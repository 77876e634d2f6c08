"""A few images of a run, what is wanted of each pixel, and what the deployed target says."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.report.recorded import title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "predictions.npz"
GAP, MOST_NAMES = 4, 40
"""Pixels between pictures, and names of classes that are written."""


def draw(folder: Path) -> "Figure | None":
    """Draw the images in a row, and masks below them; nothing of a task that shows no pictures."""
    if not (folder / FILE).exists():
        return None
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    with np.load(folder / FILE, allow_pickle=False) as held:
        rows = {name: held[name] for name in ("images", "wanted", "predicted")}
        names, colours = held["names"].tolist(), held["colours"] / 255
    height = rows["images"].shape[-2]
    strips = [np.concatenate([_framed(each) for each in pictures], axis=1) for pictures in rows.values()]
    sheet = np.concatenate(strips, axis=0)
    scale = 12 / sheet.shape[1]  # 12 inches wide
    figure = Figure(figsize=(12, sheet.shape[0] * scale + 0.9), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([(height + GAP) * (i + 0.5) for i in range(len(rows))], ["image", "wanted", "predicted"])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.suptitle(title_of(folder), fontsize="medium")
    if names:
        patches = [Patch(color=colour, label=name) for name, colour in zip(names, colours, strict=True)]
        figure.legend(handles=patches[:MOST_NAMES], loc="outside lower center", ncols=12, fontsize="small")
    return figure


def _framed(picture: Any) -> Any:
    """Return a picture (3, H, W) as (H, W, 3) with white on its right and below."""
    import numpy as np

    return np.pad(picture.transpose(1, 2, 0), ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
