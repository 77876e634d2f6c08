"""Paths are recorded so that they hold from anywhere."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from shiftaddaug.runs.absolute import whole_path, with_absolute_paths
from shiftaddaug.runs.identity import first_difference


def test_relative_paths_are_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = {"paths": {"output_dir": "run", "data_dir": "/data"}, "net": {"init_from": "a", "path": None}}
    raw |= {"data": {"data_dir": "${paths.data_dir}"}, "callbacks": {"dirpath": "${paths.output_dir}/checkpoints"}}
    cfg = OmegaConf.create(raw)
    made = OmegaConf.to_container(with_absolute_paths(cfg), resolve=True)
    assert made == {
        "paths": {"output_dir": f"{tmp_path}/run", "data_dir": "/data"},
        "net": {"init_from": f"{tmp_path}/a", "path": None},
        "data": {"data_dir": "/data"},
        "callbacks": {"dirpath": f"{tmp_path}/run/checkpoints"},
    }
    assert cfg.paths.output_dir == "run"


def test_a_model_of_timm_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("saved.pth").touch()
    named = {"timm:resnet18": "timm:resnet18", "timm:saved.pth": f"timm:{tmp_path}/saved.pth"}
    assert {name: whole_path(name) for name in named} == named


def test_a_run_that_recorded_a_relative_path_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = ({"net": {"init_from": path}} for path in ("a", f"{tmp_path}/a"))
    assert first_difference(one, other) is None
    assert first_difference(one, {"net": {"init_from": "/b"}}) == ("net.init_from", "a", "/b")
