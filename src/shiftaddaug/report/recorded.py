"""The figures of a recorded run: what stands in its results.json, and under which keys. From recorded values only."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from shiftaddaug.errors import DAMAGE, UserError, reason_of
from shiftaddaug.report.results import RESULTS, RUN, read_json
from shiftaddaug.tasks.classification.settings import ClassificationSettings
from shiftaddaug.tasks.figures import Figure, figures_in

MEASURED = ("train_seconds", "epochs")
"""Other numbers that tables compute with, if they are there."""
SPLITS = ("test", "val", "train")
"""Whose headline figure tables show."""
BEFORE = ClassificationSettings(headline="top1", better="max")
"""The task of runs that are older than descriptions of figures."""


def headline_of(recorded: Mapping[str, Any]) -> Figure:
    """The headline figure of a run, by its run.json or results.json."""
    figures = figures_in(recorded)
    return figures[recorded["headline"]] if figures else BEFORE.headline_figure


def read_results(path: Path, needed: Collection[str] = ()) -> dict[str, Any]:
    """Return what a run that has finished has recorded in its results.json.

    Args:
        path: of the file.
        needed: keys of numbers that it must have.

    Raises:
        UserError: it cannot be read, or what is to be a number is none.
    """
    try:
        found = read_json(path)
        keys = [headline_of(found).key(split) for split in SPLITS]
    except (OSError, *DAMAGE) as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)})") from None
    for key in (*needed, *keys, *MEASURED):
        value = found.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float | None) or (value is None and key in needed):
            raise UserError(f"{path}: {key} is {str(value)[:60]}, and no number")
    return found


def headline_in(folder: Path) -> Figure:
    """The headline figure of a run, by its folder; a run that ended before it could say is taken for an old one."""
    recorded = (_headline_in(folder / name) for name in (RESULTS, RUN))
    return next((headline for headline in recorded if headline is not None), BEFORE.headline_figure)


def _headline_in(path: Path) -> Figure | None:
    try:
        return headline_of(read_json(path))
    except (OSError, *DAMAGE):  # not there yet, or damaged
        return None


def title_of(folder: Path) -> str:
    """Return what a run is, for the title of a figure: `mbv2_micro, op=shift, aug=none, data=digits, seed=0`."""
    try:
        said = read_json(folder / RUN)
    except (OSError, *DAMAGE):
        return ""
    parts = [str(said["net"])] if "net" in said else []
    return ", ".join(parts + [f"{key}={said[key]}" for key in ("op", "aug", "data", "seed") if key in said])


def columns(figures: Sequence[Figure], splits: Sequence[str]) -> dict[str, str]:
    """Titles of a table's columns, and the keys of results.json that fill them."""
    return {figure.column(split): figure.key(split) for figure in figures for split in splits}
