"""Draw all figures of a folder, save them there, and hand them to loggers."""

import importlib
from collections.abc import Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.files import write_whole
from shiftaddaug.report.harmless import harmless
from shiftaddaug.report.loggers import log_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from shiftaddaug.report.guarded import GuardedLogger

FIGURES = "report/figures"


def draw_figures(
    folder: Path, catalogue: Catalogue = PACKAGE_ONLY, loggers: "Iterable[GuardedLogger]" = (), step: int | None = None
) -> None:
    """Draw every figure that `folder` has the files for. One that fails is warned of, and the others are drawn.

    Args:
        folder: of a run, a study or a fit; the pictures are saved there, as `<name>.png`.
        catalogue: of the package and the plugins in use, whose figures are drawn.
        loggers: to which the figures are handed, where they take pictures.
        step: of training, at which loggers show them.
    """
    for name, module in catalogue.modules(FIGURES).items():
        figure: Any = None
        with harmless(f"{name}.png could not be drawn"):
            figure = _drawn(module, folder)
        if figure is None:
            continue
        with harmless(f"{name}.png could not be written"):
            _save(figure, folder / f"{name}.png")
        for logger in loggers:
            logger.attempt(f"taking {name}.png", partial(log_figure, name=f"figures/{name}", figure=figure, step=step))


def _drawn(module: str, folder: Path) -> "Figure | None":
    """Return what a module draws; refuse what is no figure, with a TypeError."""
    figure: Figure | None = importlib.import_module(module).draw(folder)
    if figure is not None and not hasattr(figure, "savefig"):
        raise TypeError(f"draw returned a {type(figure).__name__}; must be a matplotlib figure, or None")
    return figure


def _save(figure: "Figure", path: Path) -> None:
    """Put the file there whole, or not at all."""
    png = BytesIO()
    figure.savefig(png, format="png", dpi="figure")
    write_whole(path, png.getvalue())
