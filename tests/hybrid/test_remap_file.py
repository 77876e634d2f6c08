"""A remap in a file: what is read, what is refused, and how it comes into a run's configuration."""

from pathlib import Path

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap_file import read_remap, with_remap_file


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sharing.remap_file=.*none.yaml: cannot be read"):
        read_remap(str(tmp_path / "none.yaml"), "add")
    (tmp_path / "other.yaml").write_text("a: 1")
    with pytest.raises(UserError, match=r"holds no remap"):
        read_remap(str(tmp_path / "other.yaml"), "add")


def test_a_file_fitted_for_another_operator(tmp_path: Path) -> None:
    (tmp_path / "remap.yaml").write_text("op: add\nform: replace\nlaplace_scale: 19.0\n")
    path = str(tmp_path / "remap.yaml")
    assert read_remap(path, "add") == ({"form": "replace", "laplace_scale": 19.0}, "add")
    with pytest.raises(UserError, match=r"remap\.yaml: was fitted for op=add, this run has op=shift"):
        read_remap(path, "shift")


def test_it_takes_the_place_of_the_operators_constants(tmp_path: Path) -> None:
    (tmp_path / "remap.yaml").write_text("form: residual\nlaplace_scale: 0.2\nrelative: true\nknots_x: [0, 1]\n")
    shift = {"name": "shift", "remap": {"form": "replace"}}
    config = {"op": shift, "sharing": {"remap_file": str(tmp_path / "remap.yaml")}}
    wanted = {"form": "residual", "laplace_scale": 0.2, "relative": True, "knots_x": [0, 1]}
    assert with_remap_file(config) == {"op": {"name": "shift", "remap": wanted}, "sharing": {"remap_file": None}}
    assert config["op"] == {"name": "shift", "remap": {"form": "replace"}}
