"""Two workers on a study in a PostgreSQL server, which the test starts in a folder and on a port of its own."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from tests.search.sweeping import two_workers

FOUND = [path.parent for path in map(Path, filter(None, [shutil.which("pg_ctl")]))]
BIN = next(iter([*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *FOUND]), None)
OWNER = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
"""The server refuses to be root's."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BIN is None, reason="no PostgreSQL server is installed (Debian: postgresql)"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed (.[postgresql])"),
]


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a database that is empty."""
    assert BIN is not None
    folder = Path(tempfile.mkdtemp(prefix="shiftaddaug-postgresql-"))
    if OWNER:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    control = [*OWNER, str(BIN / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        initial = [*OWNER, str(BIN / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "search"]
        subprocess.run(initial, check=True, capture_output=True, cwd=folder)
        start = [*control, "-l", str(folder / "log"), "-o", options, "start"]
        subprocess.run(start, check=True, capture_output=True, cwd=folder)
        yield f"postgresql+psycopg://search@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=folder)
        shutil.rmtree(folder, ignore_errors=True)


def test_two_workers_share_a_study(server: str, tmp_path: Path) -> None:
    two_workers(server, tmp_path)
    (name,) = optuna.get_all_study_names(server)
    states = [trial.state.name for trial in optuna.load_study(study_name=name, storage=server).trials]
    assert states.count("COMPLETE") == len(states) and 12 <= len(states) <= 13
