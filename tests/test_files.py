"""A file is there whole or not at all, on the disk before its name is, and nothing half-written stays."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.files import read_yaml, remove_halves, whole, write_csv, write_whole


def recorded_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Names of system calls and of what they are called with, in order, as they are made from now on."""
    calls: list[tuple[str, str]] = []
    opened: dict[int, str] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

    def open_(path: Any, *arguments: Any, **named: Any) -> int:
        descriptor = real_open(path, *arguments, **named)
        opened[descriptor] = Path(path).name
        return descriptor

    def fsync(descriptor: int) -> None:
        calls.append(("fsync", opened[descriptor]))
        real_fsync(descriptor)

    def replace(old: Any, new: Any) -> None:
        calls.append(("rename", f"{Path(old).name} {Path(new).name}"))
        real_replace(old, new)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return calls


def test_content_is_on_the_disk_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    calls = recorded_calls(monkeypatch)
    write_whole(folder / "a.json", "{}\n")
    half = f".a.json.{os.getpid()}.half"
    assert calls == [("fsync", half), ("rename", f"{half} a.json"), ("fsync", "run")]
    assert [path.name for path in folder.iterdir()] == ["a.json"]
    assert (folder / "a.json").read_bytes() == b"{}\n"


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_rights_are_those_that_the_umask_leaves(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "weights", b"\0")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_does_not_take_it_leaves_the_earlier_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "a", "earlier")

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError) as caught:
        write_whole(tmp_path / "a", "later")
    assert str(caught.value) == f"{tmp_path / 'a'}: could not be written ({os.strerror(number)})"
    assert (tmp_path / "a").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone/a: could not be written \(No such file or directory\)$"):
        write_whole(tmp_path / "gone" / "a", "")


def test_what_fails_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with whole(tmp_path / "a") as half:
            half.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_halves_of_killed_processes_are_removed_and_of_living_ones_are_not(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f".a.{ended.pid}.half", f".b.{ended.pid}.half", f".a.{os.getppid()}.half", ".a.x.half", "a.half"):
        (tmp_path / name).touch()
    write_whole(tmp_path / "a", "")
    left = {f".a.{os.getppid()}.half", ".a.x.half", "a.half", "a"}
    assert {path.name for path in tmp_path.iterdir()} == left | {f".b.{ended.pid}.half"}
    remove_halves(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_csv_has_the_cells_of_its_header(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["op", "top1"], [{"op": "add, shift", "top1": 0.5, "more": 1}, {"op": "mult"}])
    assert (tmp_path / "a.csv").read_bytes() == b'op,top1\r\n"add, shift",0.5\r\nmult,\r\n'


def test_a_yaml_of_nested_aliases_is_refused_before_it_is_written_out(tmp_path: Path) -> None:
    """Its 7 lines are ten million values; one of a few aliases is read, and interpolations stand as they are."""
    levels = [
        f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]" for before, name in zip("abcdef", "bcdefg", strict=True)
    ]
    (tmp_path / "bomb.yaml").write_text("\n".join([f"a: &a [{','.join('1' * 10)}]", *levels]))
    with pytest.raises(UserError, match=r"^holds more than 10,000 values, aliases written out"):
        read_yaml(tmp_path / "bomb.yaml")
    (tmp_path / "endless.yaml").write_text("&a [*a]")
    with pytest.raises(UserError, match="aliases"):
        read_yaml(tmp_path / "endless.yaml")
    (tmp_path / "deep.yaml").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"^holds lists within lists, more than 100 deep"):
        read_yaml(tmp_path / "deep.yaml")
    (tmp_path / "a.yaml").write_text("a: &a {x: 1e-05}\nb: *a\nc: ${oc.env:HOME}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": {"x": 1e-5}, "b": {"x": 1e-5}, "c": "${oc.env:HOME}"}
