"""What is answered before torch is imported."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shiftaddaug.commands.entry import run_command
from shiftaddaug.runs.importing import importing_torch
from tests.commands.running import ROOT, composed

HEAVY = ("torch", "lightning", "torchvision", "timm", "numpy", "sklearn", "matplotlib", "optuna", "wandb")
TRAIN_MISTAKES = (
    *("op=ad", "optim.lrr=1", "optim.lr=abc", "trainer.precision=17", "op.weight_bits=99", "+op.gain=3"),
    *("op=shift_ps aug=width_expand", "data=imagenet", "ckpt_path=last", "-m op=shift,add optim.lr=abc"),
    *("data=camvid", "data=mask_folder", "data=shapes task.loss=bce", "data=shapes task.window=99"),
    *("task=regression", "task.name=regression", "task.headline=top2", "task.better=min", "task.label_smoothing=2"),
)
PREDICT_MISTAKES = ("target=nowhere a.png", "target=. a.png", "images=a.png", "target=nowhere a.png top=0")
EVAL_MISTAKES = ("ckpt_path=nowhere.ckpt", "ckpt_path=. data.batch_size=0", "ckpt_path=. trainer.precision=17")


def heavy_imports(command: str, lines: list[str], status: int, folder: Path) -> dict[str, list[str]]:
    """What one process that is given one command line after the other has imported after each; each exits so."""
    script = f"""
import importlib, json, sys
main = importlib.import_module("shiftaddaug.commands.{command}").main
imported = {{}}
for line in {lines}:
    sys.argv = ["{command}.py", *line.split()]
    try:
        main()
        found = 0
    except SystemExit as exit_:
        found = exit_.code
    assert found == {status}, (line, found)
    imported[line] = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps(imported), file=sys.stderr)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "SHIFTADDAUG_ROOT": str(folder)}
    process = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stderr
    imported: dict[str, list[str]] = json.loads(process.stderr.splitlines()[-1])
    return imported


def checkpoint_of(folder: Path, *overrides: str) -> Path:
    """As a run leaves it, as far as resuming reads it first."""
    from omegaconf import OmegaConf

    path = folder / "other.ckpt"
    config = OmegaConf.to_container(composed(folder, *overrides), resolve=True)
    torch.save({"config": config, "state_dict": {"w": torch.zeros(3)}}, path)
    return path


def test_training_that_is_refused_imports_nothing_heavy(tmp_path: Path) -> None:
    lines = [*TRAIN_MISTAKES, f"ckpt_path={checkpoint_of(tmp_path, 'op=add')}"]
    assert heavy_imports("train", lines, 2, tmp_path) == {line: [] for line in lines}


def test_an_evaluation_that_is_refused_imports_nothing_heavy(tmp_path: Path) -> None:
    assert heavy_imports("evaluate", [*EVAL_MISTAKES], 2, tmp_path) == {line: [] for line in EVAL_MISTAKES}


def test_a_prediction_that_is_refused_imports_nothing_heavy(tmp_path: Path) -> None:
    assert heavy_imports("predict", [*PREDICT_MISTAKES], 2, tmp_path) == {line: [] for line in PREDICT_MISTAKES}


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_help_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    assert heavy_imports(command, ["--help", "-h"], 0, tmp_path) == {"--help": [], "-h": []}


@pytest.mark.parametrize(
    ("typed", "options"),
    [("op=ad", r"add, [^\n]*mult, [^\n]*shift_ps"), ("data=digit", r"[^\n]*cifar10, cifar100, [^\n]*digits, ")],
)
def test_help_answers_mistakes(
    typed: str, options: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--help", typed])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(SystemExit):
        run_command("train", lambda cfg: None)
    wanted = rf"error: {typed}: no such option; did you mean \w+\? options: {options}[^\n]*\n"
    assert re.fullmatch(wanted, capsys.readouterr().err)


def test_what_is_imported_is_left_out_of_garbage_collection_once() -> None:
    script = """
import gc
from shiftaddaug.runs.importing import importing_torch
with importing_torch():
    assert not gc.isenabled()
assert gc.isenabled() and gc.get_freeze_count() > 0
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", script], env=environment, timeout=120, check=True)
    import gc

    frozen = gc.get_freeze_count()
    with importing_torch():  # torch is there already
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
