"""What a run leaves behind besides checkpoints: results.json, the table, the curves. From recorded values only."""

import csv
import hashlib
import json
import math
import os
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

RUN, RESULTS, METRICS, CURVES = "run.json", "results.json", "metrics.csv", "curves.png"


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
    """Put the file there whole, or not at all."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        half.write_text(json.dumps(content, indent=1, default=str) + "\n")
        half.replace(path)
    except OSError:
        half.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Content of a json file that holds an object."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows (dicts with the same keys) as a table."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for key, value in rows[0].items():
        table.add_column(key, justify="left" if isinstance(value, str) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    _print_whole(table)


def print_result(title: str, result: dict[str, Any]) -> None:
    """Print one result as a table of two columns."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    for key, value in result.items():
        table.add_row(key, str(value))
    _print_whole(table)


def _print_whole(table: Any) -> None:
    """Print at the width the table needs: a path is for copying, so it is never cut or folded."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(markup=False, emoji=False)  # an override such as [stem] is no markup
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def shortest_path(path: Path) -> str:
    """Path relative to the working directory where that is a path downwards, else absolute."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def read_metrics(path: Path) -> dict[str, dict[int, float]]:
    """Values by metric name and epoch of a metrics.csv; the last one where an epoch has several."""
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    with path.open() as file:
        for row in csv.DictReader(file):
            epoch = int(row.pop("epoch"))
            for name, value in row.items():
                if value not in ("", None) and name != "step":
                    metrics[name][epoch] = float(value)
    return dict(metrics)


def read_history(folder: Path) -> dict[str, dict[int, float]]:
    """Metrics of a run and, for the epochs before it, of the run it resumed (run.json says which), if still there."""
    resumed_from = read_json(folder / RUN).get("resumed_from") if (folder / RUN).exists() else None
    history = read_history(Path(resumed_from).parents[1]) if resumed_from else {}
    own = read_metrics(folder / METRICS) if (folder / METRICS).exists() else {}
    first = min((epoch for values in own.values() for epoch in values), default=math.inf)
    before = {name: {e: v for e, v in values.items() if e < first} for name, values in history.items()}
    return {name: before.get(name, {}) | own.get(name, {}) for name in before | own}


def plot_curves(folder: Path) -> None:
    """Draw losses and top-1 over the epochs of a run, into its folder; nothing before the first epoch has ended."""
    metrics = read_history(folder)
    if "train/loss" not in metrics:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for axes, names, label in (
        (left, ("train/loss", "train/loss_aug", "val/loss"), "loss"),
        (right, ("train/top1", "val/top1"), "top-1"),
    ):
        for name in names:
            if name in metrics:
                axes.plot(list(metrics[name]), list(metrics[name].values()), marker=".", label=name)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend()
    figure.savefig(folder / CURVES, dpi=100)
    plt.close(figure)
