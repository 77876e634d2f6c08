"""A run that some process trains is no stopped one."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.runs.checkpoints import FOUND, find_checkpoint, resumable
from shiftaddaug.runs.held import hold, running


def run(folder: Path, resumed: Path | None = None) -> Path:
    last = folder / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    (folder / "run.json").write_text(json.dumps({"resumed_from": None if resumed is None else str(resumed)}))
    return last


def test_last_is_no_run_that_is_still_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that such a run went on from. Other processes of a run are told what its first one has found."""
    stopped = run(tmp_path / "stopped")
    live = run(tmp_path / "live", resumed=run(tmp_path / "before"))
    with ExitStack() as held:
        assert hold(live.parents[1], held)
        assert running(tmp_path) == {tmp_path / "live", tmp_path / "before"}
        assert find_checkpoint("last", tmp_path, {}) == stopped
        assert resumable("last", tmp_path) == [stopped]
        assert hold(stopped.parents[1], held)
        with pytest.raises(UserError, match=r"^ckpt_path=last: no run under .* was stopped .*; .* is still training$"):
            find_checkpoint("last", tmp_path, {})
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setenv(FOUND, str(stopped))
        assert find_checkpoint("last", tmp_path, {}) == stopped
    assert running(tmp_path) == set()
