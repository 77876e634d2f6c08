"""Databases of studies: damaged, foreign, left half written, of a server that others use."""

import json
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from shiftaddaug.errors import UserError
from shiftaddaug.runs.study_storage import answering_storage, open_storage, shown, warn_of_password


def told(path: Path, kind: str = "journal", trials: int = 1) -> int:
    """Add trials to a study; return how many are complete."""
    study = optuna.create_study(storage=open_storage(f"{kind}:///{path}"), study_name="s", load_if_exists=True)
    for _ in range(trials):
        study.tell(study.ask(), 1.0)
    return len(study.get_trials(states=(TrialState.COMPLETE,)))


def refusal(address: str) -> str:
    with pytest.raises(UserError) as caught:
        open_storage(address)
    return str(caught.value)


def test_a_line_that_was_not_written_to_its_end_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a"
    told(path, trials=3)
    path.write_bytes(path.read_bytes()[:-9])  # the last trial has no value any more
    assert told(path) == 3
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize("content", [b"hello\n", b"hello", b"3\n", b'{"a": 1}\n', b"\x00\xff\n"])
def test_a_file_that_is_no_journal_is_refused_and_kept(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert refusal(f"journal:///{tmp_path}/a").endswith("cannot be opened (it is no journal of Optuna's)")
    assert (tmp_path / "a").read_bytes() == content


def test_a_lock_that_a_killed_process_left_holds_nobody_up_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_storage("journal:///a")
    assert (tmp_path / "a").exists()
    backend = open_storage("journal:///a")._backend  # type: ignore[attr-defined]
    backend._lock.acquire()
    assert (tmp_path / "a.lock").resolve() == tmp_path / "a"  # Optuna waits for ever where this leads nowhere


def test_a_database_of_another_program_is_refused_and_kept(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a") as database:
        database.execute("CREATE TABLE cookies (name TEXT)")
    assert refusal(f"sqlite:///{tmp_path}/a").endswith("cannot be opened (it holds something else: cookies)")
    with sqlite3.connect(tmp_path / "a") as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("cookies",)]


def test_what_is_no_file_is_no_database(tmp_path: Path) -> None:
    devices = ("sqlite:////dev/full", "journal:////dev/full")  # which is read without end
    for address in (f"sqlite:///{tmp_path}", f"journal:///{tmp_path}", "sqlite:///", "journal:///", *devices):
        assert refusal(address).endswith("must name a file")


@pytest.mark.parametrize("address", ["a.db", "redis://a", "sqlite:/a"])
def test_an_address_that_is_none_is_answered_with_the_options(address: str) -> None:
    assert refusal(address).endswith("; options: sqlite:///FILE, journal:///FILE, postgresql+psycopg://USER@HOST/NAME")


def test_passwords_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    for address in ("postgresql+psycopg://me@host/name", "sqlite:////a/b.db", None):
        warn_of_password(address)
    assert not caplog.text
    warn_of_password("postgresql+psycopg://me:secret@host/name")
    assert "me:***@host/name: its password is written into" in caplog.text
    assert shown("postgresql+psycopg://me:secret@host:5/name") == "postgresql+psycopg://me:***@host:5/name"
    assert shown("sqlite:////a/b@c:d@e.db") == "sqlite:////a/b@c:d@e.db"
    assert "secret" not in refusal("nodb://me:secret@host/name")


def test_what_a_database_cannot_do_is_one_line() -> None:
    with pytest.raises(UserError, match=r"failed .*No space left on device"), answering_storage("a"):
        raise OSError(28, "No space left on device")
    line = r"^hydra\.sweeper\.storage=a: failed \(disk full\); the same command goes on"
    with pytest.raises(UserError, match=line), answering_storage("a"):
        raise StorageInternalError("raised during the commit. This ...") from OSError("disk full")
