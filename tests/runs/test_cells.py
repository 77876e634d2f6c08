"""The runs of an ablation's folder: commands, attempts, results."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.report.results import RESULTS
from shiftaddaug.runs.cells import Cell, check_overrides, finished_results
from shiftaddaug.runs.explain import compose_config
from shiftaddaug.runs.settings import PathsSettings

PATHS = PathsSettings(root_dir=".", log_dir="logs", output_dir="run", data_dir="data")


def test_folders_may_have_any_name(tmp_path: Path) -> None:
    cell = Cell("add", "full", 0, tmp_path / "a=b, 'c' (1)" / "seed0")
    chosen = [
        argument
        for argument in cell.command([], replace(PATHS, data_dir=r"/mnt/Data (1)~\x"))
        if not argument.startswith("-")
    ][2:]
    cfg = compose_config("train", [override for override in chosen if not override.startswith("hydra.")])
    assert cfg.paths.output_dir == str(cell.folder)
    assert cfg.paths.data_dir == r"/mnt/Data (1)~\x"


def test_a_stopped_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    cell = Cell("add", "full", 1, tmp_path / "add" / "full" / "seed1")
    assert not any(argument.startswith("ckpt_path") for argument in cell.command([], PATHS))
    for name in ("seed1", "seed1_attempt2"):
        (cell.folder.with_name(name) / "checkpoints").mkdir(parents=True)
    checkpoint = cell.folder / "checkpoints" / "last.ckpt"
    checkpoint.touch()  # the second attempt was stopped before it wrote one
    third = cell.folder.with_name("seed1_attempt3")
    assert cell.command(["a=b"], PATHS) == [
        *(sys.executable, "-m", "shiftaddaug.commands.train"),
        "paths.log_dir='logs'",
        "paths.data_dir='data'",
        "experiment=ablation/full",
        "op=add",
        "seed=1",
        "a=b",
        f"paths.output_dir='{third}'",
        f"hydra.run.dir='{third}'",
        "trainer.enable_progress_bar=false",
        f"ckpt_path='{checkpoint}'",
    ]
    third.mkdir()
    (third / RESULTS).touch()
    assert cell.results() == third / RESULTS


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"overrides": 3}', '{"overrides": '])
def test_a_damaged_plan_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "ablation.json").write_text(content)
    with pytest.raises(UserError, match=r"^(folder: .*ablation\.json cannot be read|overrides=.*: the runs in)"):
        check_overrides(tmp_path, ["a=1"])


def test_damaged_results_of_a_cell_are_one_line(tmp_path: Path) -> None:
    cell = Cell("add", "full", 0, tmp_path / "seed0")
    cell.folder.mkdir()
    (cell.folder / RESULTS).write_text('{"params": 3}')
    with pytest.raises(UserError, match=r"seed0/results\.json: macs is None, and no number$"):
        finished_results([cell])
