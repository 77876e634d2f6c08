"""`src/export.py`: what it writes and says, and mistakes in one line before torch is imported."""

import json
import logging
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from shiftaddaug.commands.export import export
from shiftaddaug.errors import UserError
from shiftaddaug.nets.extract import extract_target, save_target
from tests.build import bottlenecks, make_supernet
from tests.commands.running import command, composed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, of which only the target is there."""
    folder = tmp_path_factory.mktemp("run")
    supernet = make_supernet(bottlenecks(depth=1), "shift").eval()
    save_target(extract_target(supernet, {"data": {"name": "digits", "eval_size": [20, 24]}}), folder / "target")
    return folder


def exported(folder: Path, *overrides: str) -> float | None:
    return export(composed(folder, *overrides, config_name="export"))


def test_a_run_is_exported_and_never_overwritten(run: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "files"
    difference = exported(folder, f"target={run}", "format=[onnx,pt2]")
    assert {path.name for path in folder.iterdir()} == {"target.onnx", "target.pt2", "export.json"}
    said = json.loads((folder / "export.json").read_text())
    assert (said["image_size"], said["in_channels"], said["opset"], said["dtype"]) == ([20, 24], 3, 18, "float32")
    assert said["memory_bytes_per_image"] > 4 * 3 * 20 * 24
    files = said["files"]
    assert files["onnx"]["bytes"] == (folder / "target.onnx").stat().st_size
    assert max(file["largest_relative_difference"] for file in files.values()) == difference
    assert difference is not None and difference <= 1e-5
    assert "of 20 x 24 px" in (out := capsys.readouterr().out) and "of the target's" in out
    with pytest.raises(UserError, match=r"paths.output_dir=.*files: holds export.json already, which is never"):
        exported(folder, f"target={run}", "format=pt2")


def test_mistakes_are_one_line(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    for overrides, message in (
        ([f"target={tmp_path}/nowhere"], "target=.*nowhere: no such folder; options: a run's folder"),
        ([f"target={tmp_path}/empty"], "target=.*empty: no target there; options: the folder of a run that has fin"),
        ([f"target={run}", "format=tflite"], r"format=tflite: must be onnx, pt2, or both, \[onnx,pt2\]"),
        ([f"target={run}", "format=[]"], r"format=\[\]: must be onnx, pt2, or both"),
        ([f"target={run}", "image_size=0"], "image_size=0: must be a whole number"),
    ):
        with pytest.raises(UserError, match=message):
            exported(tmp_path / "files", *overrides)
    missing(monkeypatch, "onnxscript")
    with pytest.raises(
        UserError, match=r"format=onnx: needs onnxscript; options: pip install -e '.\[export\]', format=p"
    ):
        exported(tmp_path / "files", f"target={run}")
    assert not (tmp_path / "files").exists()


def test_without_onnx_runtime_it_says_that_nothing_was_compared(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    missing(monkeypatch, "onnxruntime")
    with caplog.at_level(logging.WARNING):
        assert exported(tmp_path / "files", f"target={run}") is None
    assert "onnxruntime is not installed: target.onnx is written, but not compared" in caplog.text
    assert "bytes, not compared" in capsys.readouterr().out


def missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a package look as if it were not installed."""
    for module in ("shiftaddaug.interop.formats",):
        monkeypatch.setattr(f"{module}.find_spec", lambda wanted: None if wanted == name else util.find_spec(wanted))


def test_a_command_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    done = command("target=nowhere", f"paths.log_dir={tmp_path}/logs", script="export", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: target=nowhere: no such folder; options: a run's folder, or its target folder\n"
    assert not any((tmp_path / "logs").glob("export/runs/*"))
