"""Folders of callbacks, loggers and the trainer are tried before anything is trained; nothing is made."""

from pathlib import Path
from typing import Any

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.report.results import RUN
from shiftaddaug.runs.places import check_places, refuse_begun_run, refuse_old_run


def config(folder: Path, **groups: Any) -> dict[str, Any]:
    return {"paths": {"output_dir": str(folder / "run")}, "trainer": {}, "logger": None} | groups


@pytest.mark.parametrize(
    ("groups", "key"),
    [
        ({"callbacks": {"last": {"_target_": "x", "dirpath": "{file}/x"}}}, "callbacks.last.dirpath"),
        ({"callbacks": {"off": None, "diagnostics": {"folder": "{file}/x/y"}}}, "callbacks.diagnostics.folder"),
        ({"logger": {"many": {"one": {"save_dir": "{file}"}}}}, "logger.many.one.save_dir"),
        ({"trainer": {"default_root_dir": "{file}/x"}}, "trainer.default_root_dir"),
    ],
)
def test_one_that_cannot_be_written_to_is_refused(groups: dict[str, Any], key: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=rf"^{key}=.*: cannot write there \(.*/file is not a writable folder\)$"):
        check_places(config(tmp_path, **_filled(groups, file)))


def _filled(node: Any, file: Path) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, file) for key, value in node.items()}
    return node.replace("{file}", str(file)) if isinstance(node, str) else node


def test_a_runs_folder_is_never_overwritten(tmp_path: Path) -> None:
    refuse_old_run(tmp_path / "new")
    (tmp_path / "run.json").touch()
    with pytest.raises(UserError, match=r"^paths\.output_dir=.*: holds a run already, which is never overwritten$"):
        refuse_old_run(tmp_path)


def test_others_are_left_as_they_are(tmp_path: Path) -> None:
    """A folder that can be made, one of the run, which is locked and tried by its own key, and a server's."""
    places = (tmp_path / "new" / "one", tmp_path / "run" / "checkpoints", "s3://bucket/x")
    check_places(config(tmp_path, callbacks={str(i): {"dirpath": str(each)} for i, each in enumerate(places)}))
    assert list(tmp_path.iterdir()) == []


def test_other_processes_of_a_run_come_to_a_folder_that_its_first_one_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / RUN).write_text("{}")
    with pytest.raises(UserError, match=r"^paths.output_dir=.*: holds a run already"):
        refuse_begun_run(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    refuse_begun_run(tmp_path)
