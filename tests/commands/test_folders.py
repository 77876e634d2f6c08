"""A command that is refused leaves no folder that it has made, and touches no other."""

import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig

from shiftaddaug.commands.entry import run_command
from shiftaddaug.errors import UserError
from shiftaddaug.report.results import write_json


def refuse(cfg: DictConfig) -> None:
    if cfg.seed < 10:
        raise UserError("seed: too small")


def run(monkeypatch: pytest.MonkeyPatch, root: Path, *arguments: str, config_name: str = "train") -> None:
    monkeypatch.setattr(sys, "argv", [f"{config_name}.py", *arguments])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(root))
    with pytest.raises(SystemExit) as exit_:
        run_command(config_name, refuse)
    assert exit_.value.code == 2


def found(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("config_name", "line"),
    [
        ("train", "seed=1"),
        ("train", "seed=1 op=nothing"),
        ("train", "seed=1 hydra.run.dir={root}/a/b"),
        ("train", "seed=1 paths.log_dir={root}/a/b"),
        ("train", "-m seed=1,2 hydra.sweep.dir={root}/a/b"),
        ("eval", "seed=1 ckpt_path=a"),
        ("eval", "-m seed=1 ckpt_path=a"),
    ],
)
def test_nothing_stays(config_name: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path, *line.format(root=tmp_path).split(), config_name=config_name)
    assert found(tmp_path) == set()


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("seed=1", "logs/train/runs"),
        ("seed=1 hydra.run.dir={root}/a", "a"),
        ("-m seed=1 hydra.sweep.dir={root}/a", "a"),
        ("-m seed=1", "logs/train/multiruns"),
    ],
)
def test_what_was_there_before_stays(line: str, there: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / there).mkdir(parents=True)
    before = found(tmp_path)
    (tmp_path / there / "file").touch()
    run(monkeypatch, tmp_path, *line.format(root=tmp_path).split())
    assert found(tmp_path) >= before | {f"{there}/file"}
    if there.startswith("logs"):
        assert found(tmp_path) == before | {f"{there}/file"}


def test_a_multirun_of_which_a_job_is_done_stays_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path, "-m", "seed=1,20", f"hydra.sweep.dir={tmp_path}/m")
    assert found(tmp_path / "m") >= {"multirun.yaml", "jobs.csv", "0/train.log", "1/train.log"}
    assert "ERROR error: seed: too small" in (tmp_path / "m" / "0" / "train.log").read_text()


def test_so_does_one_whose_refused_job_has_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def write(cfg: DictConfig) -> None:
        write_json(Path(cfg.paths.output_dir) / "run.json", {})
        raise UserError("seed: too small")

    monkeypatch.setattr(f"{__name__}.refuse", write)
    for arguments in (["-m", "seed=1"], ["seed=1"]):
        run(monkeypatch, tmp_path, *arguments)
    logs = [path for path in (tmp_path / "logs").rglob("train.log") if (path.parent / "run.json").exists()]
    assert len(logs) == 2
    assert all("ERROR error: seed: too small" in log.read_text() for log in logs)
