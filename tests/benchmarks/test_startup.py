"""The benchmark of start-up: what its table says, and that its commands are what it takes them for."""

from pathlib import Path

import pytest
import startup


def test_the_first_step_is_compared_with_the_import() -> None:
    measured = startup.commands()
    for i, command in enumerate(measured.values()):
        command.wall, command.cpu = [i + 3.0, i + 1.0, i + 2.0], [0.5, 0.25, 1.0]
    table = {row["command"]: row for row in startup.rows(measured)}
    assert table[startup.IMPORT]["min s"] == "1.00"
    assert table[startup.HELP] == {
        "command": "--help",
        "min s": "2.00",
        "median s": "3.00",
        "min CPU s": "0.25",
        "beyond the import, s": "",
    }
    assert table[startup.FIRST_STEP]["beyond the import, s"] == f"{len(measured) - 1:.2f}"


def test_a_command_is_timed(tmp_path: Path) -> None:
    command = startup.Command(["-c", "sum(range(10**6))"], 0)
    command.run(tmp_path)
    assert command.cpu[0] > 0
    assert command.wall[0] > 0


def test_another_exit_status_ends_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: -c exit\(3\): exit status 3"):
        startup.Command(["-c", "exit(3)"], 0).run(tmp_path)
