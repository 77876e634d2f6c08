"""What a run leaves behind besides checkpoints, written and read again: results.json, metrics.csv, the table."""

import csv
import hashlib
import json
import math
import subprocess
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shiftaddaug.errors import DAMAGE
from shiftaddaug.files import write_whole
from shiftaddaug.report.log_file import note_result

RUN, RESULTS, METRICS, CONFIG = "run.json", "results.json", "metrics.csv", "config.yaml"
"""Files of a run: what is known when it begins, what it measured, figures of each epoch, and its configuration."""
JOBS, SEEDS = "jobs.csv", "seeds.csv"
"""Tables in the folder of a multirun."""
PRUNED = "pruned.json"
"""File of a run that a search has stopped; it says after how many epochs."""
INHERITED = "inherited_"
"""What keys of figures begin with that were measured with the weights of a supernet."""
REUSED = "reused.json"
"""File of a job that an earlier run had done already; it names that run's folder."""


def results_of(folder: Path) -> Path:
    """Return where the results of a job lie, or are going to: in its folder, or in that of the run that it reuses."""
    try:
        return Path(read_json(folder / REUSED)["folder"]) / RESULTS
    except (OSError, *DAMAGE):
        return folder / RESULTS


def git_commit(folder: Path) -> str:
    """Commit of the checkout that holds `folder`, `+dirty` if it has changes; "unknown" without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def code_hash(package: Path) -> str:
    """Hash of all Python and C sources in a folder, by path and content: 12 hexadecimal digits of their SHA-256.

    A commit says less: it is unknown where the package is installed, and new where only a text changed.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in package.rglob("*") if path.suffix in (".py", ".c", ".h")):
        for part in (str(path.relative_to(package)).encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Put the file there whole, or not at all.

    Raises:
        UserError: it cannot be written.
    """
    write_whole(path, json.dumps(_plain(content), indent=1, default=str, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """Numbers that are none become null, which json has."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a json file that holds an object.

    Raises:
        OSError, and what is in `errors.DAMAGE`: it is not there, or holds anything else.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError("holds no group of keys")
    return content


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows (dicts with the same keys) as a table."""
    from rich.table import Table

    table = Table()
    for key, value in rows[0].items():
        table.add_column(key, justify="left" if isinstance(value, str) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    print_whole(table, title)


def print_result(title: str, result: dict[str, Any]) -> None:
    """Print one result as a table of two columns; the log file has it as well."""
    from rich.table import Table

    note_result(title, result)
    table = Table(show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    for key, value in result.items():
        table.add_row(key, str(value))
    print_whole(table, title)


def print_whole(shown: Any, title: str = "") -> None:
    """Print a table or a tree at the width it needs: paths are for copying, and neither they nor titles are folded."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(markup=False, emoji=False)  # an override such as [stem] is no markup
    needed = Measurement.get(console, console.options.update(max_width=10_000), shown).maximum
    console.width = max(console.width, needed)
    if title:
        console.print(title, style="table.title", highlight=False, soft_wrap=True)
    console.print(shown)


def shortest_path(path: Path) -> str:
    """Path relative to the working directory where that is a path downwards, else absolute."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a csv by column, as far as they were written: a run may have been killed, or the machine.

    Zeros, which a file system leaves where nothing had been written yet, end the file. The last cell of a row without
    its end is left out: digits may be missing.
    """
    text = path.read_text(encoding="utf-8", errors="replace").partition("\0")[0]
    *lines, cut = text.split("\n")
    rows = csv.DictReader([*lines, cut.rpartition(",")[0]], restval="")
    return [{name: cell for name, cell in row.items() if name is not None} for row in rows]


def as_number(cell: str | None) -> float | None:
    """The number in a cell of a csv, if it holds one."""
    try:
        return float(cell or "")
    except ValueError:
        return None


def epoch_of(row: Mapping[str, str]) -> int | None:
    """The epoch that a row is of, if any."""
    epoch = as_number(row.get("epoch"))
    return int(epoch) if epoch is not None and math.isfinite(epoch) else None


def read_metrics(path: Path) -> dict[str, dict[int, float]]:
    """Values by metric name and epoch of a metrics.csv; the last one where an epoch has several.

    Rows without an epoch, such as those of Lightning's LearningRateMonitor, are no epoch's.
    """
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    for row in read_rows(path):
        epoch = epoch_of(row)
        if epoch is None:
            continue
        for name, cell in row.items():
            value = as_number(cell)
            if value is not None and name not in ("epoch", "step"):
                metrics[name][epoch] = value
    return dict(metrics)


def read_history(
    folder: Path,
    file: str = METRICS,
    read: Callable[[Path], dict[str, dict[int, float]]] = read_metrics,
    seen: tuple[Path, ...] = (),
) -> dict[str, dict[int, float]]:
    """Values by name and epoch of a run and, for the epochs before it, of the run it resumed, if still there.

    Args:
        folder: of the run; run.json in it says which one it resumed.
        file: that holds the values, by its name in a run's folder.
        read: what reads them.
        seen: folders that are read already: a damaged run.json may name itself.
    """
    resumed = resumed_run(folder)
    seen = (*seen, folder)
    history = {} if resumed is None or resumed in seen else read_history(resumed, file, read, seen)
    own = read(folder / file) if (folder / file).is_file() else {}
    first = min((epoch for values in own.values() for epoch in values), default=math.inf)
    before = {name: {e: v for e, v in values.items() if e < first} for name, values in history.items()}
    return {name: before.get(name, {}) | own.get(name, {}) for name in before | own}


def resumed_run(folder: Path) -> Path | None:
    """Return the folder of the run that a run went on from, if it says so."""
    try:
        resumed_from = read_json(folder / RUN).get("resumed_from")
        return Path(resumed_from).parents[1] if resumed_from else None
    except (OSError, *DAMAGE):  # it is gone, or damaged
        return None
