"""The ablation's table: mean and spread over seeds of every row, and its gain over the baseline. From recorded runs."""

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METRICS = {
    "test top-1 %": "test_top1_percent",
    "val top-1 %": "val_top1_percent",
    "train top-1 %": "train_top1_percent",
}


def summarise(results: Sequence[Mapping[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """One row for each (op, row), in the order of first appearance.

    Args:
        results: of runs, with `op` and `row` added.
        baseline: the row that gains are measured from, within an operator.

    Returns:
        Rows with the number of seeds, "mean ± sample standard deviation" of each metric, the gain in test top-1
        (points) with its standard error sqrt(s1^2/n1 + s2^2/n2), and what the deployed target costs.
    """
    keys = list(dict.fromkeys((r["op"], r["row"]) for r in results))
    groups = {key: [r for r in results if (r["op"], r["row"]) == key] for key in keys}
    rows = []
    for (op, row), runs in groups.items():
        line: dict[str, Any] = {"op": op, "row": row, "seeds": len(runs)}
        for title, name in METRICS.items():
            line[title] = _mean_and_spread([r[name] for r in runs if r.get(name) is not None])
        line["gain"] = _gain(runs, groups.get((op, baseline), [])) if row != baseline else ""
        line |= {"params": runs[0]["params"], "MACs": runs[0]["macs"]}
        rows.append(line)
    return rows


def _mean_and_spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def _gain(runs: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]) -> str:
    name = METRICS["test top-1 %"]
    ours, theirs = ([r[name] for r in group] for group in (runs, baseline))
    if not theirs:
        return ""
    gain = f"{statistics.mean(ours) - statistics.mean(theirs):+.2f}"
    if min(len(ours), len(theirs)) < 2:
        return gain
    error = math.sqrt(statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs))
    return f"{gain} ± {error:.2f}"


RUN_COLUMNS = (
    *("op", "row", "seed", *METRICS.values(), "params", "macs", "epochs", "train_seconds"),
    *("git_commit", "code"),
)


def write_runs(folder: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """runs.csv: a line for each run, with nothing that names the machine."""
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, RUN_COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(results)


def write_tables(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """table.csv and table.md."""
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
