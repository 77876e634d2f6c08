"""README's promises: its commands compose, its make targets exist, its map is the tree."""

import csv
import math
import re
import shlex
from pathlib import Path
from statistics import mean, stdev, variance

import pytest
from omegaconf import OmegaConf

from shiftaddaug.commands.checks import check_train_config
from tests.commands.running import ROOT, composed

README = (ROOT / "README.md").read_text()
BLOCKS = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL))
COMMANDS = re.findall(r"^python src/(\w+)\.py *(.*?) *(?:#.*)?$", BLOCKS, re.MULTILINE)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 10
    assert {name for name, _ in COMMANDS} == {"train", "eval", "ablate", "fit_sharing"}


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_commands_compose(name: str, arguments: str, tmp_path: Path) -> None:
    typed = shlex.split(arguments)
    jobs = [a.split(",")[0] for a in typed if a != "-m"] if "-m" in typed else typed  # a multirun's first job
    cfg = composed(tmp_path / "run", *jobs, config_name=name)
    if name == "train":
        check_train_config(cfg)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_map_is_the_tree() -> None:
    package = ROOT / "src" / "shiftaddaug"
    listed = set(re.findall(r"^  (\w+)/ ", README.split("src/shiftaddaug/\n")[1], re.MULTILINE))
    assert listed == {path.parent.name for path in package.glob("*/__init__.py")}
    for path in re.findall(r"`((?:src/shiftaddaug/)?(?:commands|nets|hybrid|operators|data)/\w+\.py)`", README):
        assert (package / path.removeprefix("src/shiftaddaug/")).exists(), path


def test_options_are_files() -> None:
    """Not all files: a new operator or net needs no edit of README."""
    for group in ("op", "aug", "net", "data", "sharing", "reorder", "block_variant", "bn", "optim", "optim/scheduler"):
        row = re.search(rf"^\| `{group}` \| (.*?) \|", README, re.MULTILINE)
        assert row is not None
        options = set(re.findall(r"`(\w+)`", row[1]))
        assert len(options) > 1
        assert options <= {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")}


def runs(op: str, row: str, free_scale: bool) -> list[float]:
    with (ROOT / "experiments" / f"cifar100_micro_{op}" / "runs.csv").open(newline="") as file:
        found = [run for run in csv.DictReader(file) if run["row"] == row]
    free = [run for run in found if (run["stored_scale"] == "free") == free_scale or row == "remap_alone"]
    return [float(run["test_top1_percent"]) for run in free]


def spread(values: list[float], baseline: list[float]) -> tuple[str, str]:
    """README's two cells: mean and standard deviation, and the gain with its standard error."""
    if not values:
        return "", ""
    shown, gain = f"{mean(values):.2f}", f"{mean(values) - mean(baseline):+.2f}"
    if len(values) > 1:
        error = math.sqrt(variance(values) / len(values) + variance(baseline) / len(baseline))
        shown, gain = f"{shown} ± {stdev(values):.2f}", f"{gain} ± {error:.2f}"
    return shown if len(values) == 3 else f"{shown} ({len(values)})", gain


def test_the_ablations_table_is_that_of_its_runs() -> None:
    table = re.findall(
        r"^\| `(\w+)`([:,].*?) \| (.*?) \|$", README.split("**What each mechanism is worth.**")[1], re.MULTILINE
    )
    rows = [row for row in table if row[2].count("|") == 3]
    assert {row for row, _, _ in rows} >= {*OmegaConf.load(ROOT / "configs" / "ablate.yaml").rows}
    for row, label, cells in rows:
        free = "free" in label
        wanted: list[str] = []
        for op in ("shift", "add"):
            values = [] if free and op == "shift" else runs(op, row, free)
            cell, gain = spread(values, runs(op, "mf_direct", False))
            wanted += [cell, "" if row == "mf_direct" else gain]
        assert [cell.strip() for cell in cells.split("|")] == wanted, row
