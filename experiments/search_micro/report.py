"""What the study has found so far: `python experiments/search_micro/report.py FOLDER`.

Writes runs.csv (a row for each training) and tau.csv (inherited and from-scratch accuracy) beside itself, and prints
means over seeds and Kendall's tau.
"""

import csv
import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import kendalltau

HERE = Path(__file__).parent
TOP1 = "top1_percent"


def results(folder: Path) -> Path | None:
    """Return the results of a step, wherever its last attempt lies."""
    reused = [json.loads(path.read_text())["folder"] for path in folder.glob("*/reused.json")]
    found = [*folder.glob("*/results.json"), *(Path(each) / "results.json" for each in reused)]
    return found[0] if found else None


def rows_of(study: Path) -> list[dict[str, Any]]:
    """Return a row for each training."""
    rows = []
    for step in sorted(study.glob("seed*/*")):
        path = results(step)
        if path is None or step.name.startswith(("search_", "supernet")):
            continue
        found = json.loads(path.read_text())
        searched = study / step.parent.name / f"search_{step.name.split('_')[1]}"
        scored = results(searched) if step.name.startswith("train_") else None
        inherited = "" if scored is None else json.loads(scored.read_text())[f"inherited_val_{TOP1}"]
        rows.append(
            {
                "seed": int(step.parent.name.removeprefix("seed")),
                "network": step.name,
                **{f"{split}_{TOP1}": found[f"{split}_{TOP1}"] for split in ("test", "val")},
                f"inherited_val_{TOP1}": inherited,
                **{key: found[key] for key in ("energy_mj_fair", "params", "macs", "multiplication_free_macs_percent")},
                "git_commit": found["git_commit"],
            }
        )
    return rows


def compared(study: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the inherited accuracy of networks that were trained from scratch, and that."""
    path = results(study / "seed0" / "search_random")
    if path is None:
        return []
    with (path.parent / "points.csv").open() as file:
        inherited = {row["trial"]: float(row[f"inherited_val_{TOP1}"] or 0) for row in csv.DictReader(file)}
    return [
        {"trial": trial, "inherited": inherited[trial], "from_scratch": row[f"val_{TOP1}"]}
        for row in rows
        if row["network"].startswith("compare_") and (trial := row["network"].removeprefix("compare_"))
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a csv."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(study: Path) -> None:
    """Write and print what there is."""
    rows = rows_of(study)
    own = [row for row in rows if not row["network"].startswith("compare_")]
    write(HERE / "runs.csv", own)
    for name in dict.fromkeys(row["network"] for row in own):
        values = [row[f"test_{TOP1}"] for row in own if row["network"] == name]
        energy = mean(row["energy_mj_fair"] for row in own if row["network"] == name)
        spread = f"{stdev(values):.2f}" if len(values) > 1 else "-"
        print(f"{name:28} {mean(values):6.2f} +- {spread:5} % test, {len(values)} seeds, {energy:.4f} mJ")
    pairs = compared(study, rows)
    if len(pairs) > 2:
        write(HERE / "tau.csv", pairs)
        tau = kendalltau([pair["inherited"] for pair in pairs], [pair["from_scratch"] for pair in pairs])
        print(f"Kendall's tau of {len(pairs)} networks: {tau.statistic:.2f} (p={tau.pvalue:.2g})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
