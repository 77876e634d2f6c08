"""The tree of a configuration has every value, whole, once; the first process prints it."""

import pytest

from shiftaddaug.report.config_tree import print_tree

CONFIG = {"op": {"name": "add", "remap": {"b": 5.5}}, "seed": 0, "stages": [{"depth": 1}], "tags": ["a", "b"], "x": {}}


def test_values_stand_before_groups(capsys: pytest.CaptureFixture[str]) -> None:
    print_tree({**CONFIG, "path": 200 * "long"})
    lines = [line.strip("│├└─ ").strip() for line in capsys.readouterr().out.splitlines()]
    said = ["configuration", "seed: 0", "tags: [a,b]", "x: {}", f"path: {200 * 'long'}"]
    assert lines == [*said, "op", "name: add", "remap", "b: 5.5", "stages", "0", "depth: 1"]


def test_other_processes_print_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    print_tree(CONFIG)
    assert capsys.readouterr().out == ""
