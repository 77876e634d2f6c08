"""How many epochs of the baseline take as long as a row."""

from pathlib import Path
from typing import Any

from shiftaddaug.runs.cells import Cell
from shiftaddaug.runs.equal_time import longer_baselines, longer_row


def result(row: str, seed: int, seconds: float | None, op: str = "add", epochs: int = 8) -> dict[str, Any]:
    return {"op": op, "row": row, "seed": seed, "train_seconds": seconds, "epochs": epochs}


def test_the_first_seed_decides() -> None:
    results = [result("mf_direct", 0, 10.0), result("full", 0, 26.0), result("mf_direct", 1, 10.0)]
    assert longer_row("mf_direct", "full", "add", results) == "mf_direct@21"
    assert longer_row("mf_direct", "full", "add", [*results, result("full", 1, 99.0)]) == "mf_direct@21"
    assert longer_row("mf_direct", "full", "shift", results) is None


def test_nothing_is_known_of_other_times() -> None:
    results = [result("mf_direct", 0, 10.0), result("full", 1, 26.0), result("old", 0, None), result("same", 0, 10.4)]
    for row in ("full", "old", "mf_direct", "mf_direct@21"):
        assert longer_row("mf_direct", row, "add", results) is None
    assert longer_row("mf_direct", "same", "add", results) == "mf_direct"


def test_a_baseline_for_each_seed_and_length_once() -> None:
    results = [result("mf_direct", 0, 10.0), result("full", 0, 20.0), result("depth", 0, 20.1)]
    cells = [
        Cell("add", row, seed, Path("study") / "add" / row / f"seed{seed}")
        for seed in (0, 1)
        for row in ("mf_direct", "full", "depth")
    ]
    longer = longer_baselines(cells, "mf_direct", results)
    assert [(cell.row, cell.seed, str(cell.folder)) for cell in longer] == [
        ("mf_direct@16", 0, "study/add/mf_direct@16/seed0"),
        ("mf_direct@16", 1, "study/add/mf_direct@16/seed1"),
    ]
    overrides = longer[0].overrides(["trainer.max_epochs=8"])
    assert overrides == [
        *("experiment=ablation/mf_direct", "op=add", "seed=0"),
        *("trainer.max_epochs=8", "trainer.max_epochs=16"),
    ]
