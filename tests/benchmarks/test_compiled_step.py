"""The benchmark of compiled training steps: a tiny run."""

import csv
from pathlib import Path

import compiled_step
import pytest


def test_compiled_and_eager_steps_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.compile", lambda net, backend: net)  # tests/tasks compiles; a net takes long
    little = ["--nets", "mbv2_micro", "--image-size", "16", "--batch", "2", "--specs", "1", "--rounds", "1"]
    compiled_step.main([*little, "--ops", "shift", "--out", str(tmp_path)])
    with (tmp_path / "compiled_step.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["net"], row["aug"], row["op"]) for row in rows] == [
        ("mbv2_micro 16 px", aug, "shift") for aug in ("none", "width_expand")
    ]
    for row in rows:
        assert float(row["ratio"]) == pytest.approx(float(row["compiled_ms"]) / float(row["eager_ms"]))
    assert "compiled / eager" in capsys.readouterr().out


def test_fewer_rounds_than_sub_networks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compiled_step.parse(["--rounds", "2", "--specs", "3"])
    assert capsys.readouterr().err == "error: --rounds 2: at least --specs 3, one for each sub-network\n"
