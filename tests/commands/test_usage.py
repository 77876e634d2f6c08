"""`--help` says of every group what it decides, and shows the keys as they are composed."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from shiftaddaug.commands.entry import run_command
from shiftaddaug.commands.groups import COMMANDS, GROUPS, USED
from shiftaddaug.commands.usage import WIDTH
from shiftaddaug.runs.compose import config_dir, group_options, groups_of, takes_group
from tests.commands.running import ROOT


def helped(
    config_name: str, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setattr(sys, "argv", [f"{config_name}.py", *arguments])

    def never_called(cfg: object) -> None:
        raise AssertionError

    run_command(config_name, never_called)
    return capsys.readouterr().out


def test_every_group_and_every_command_is_explained_in_a_line() -> None:
    assert set(GROUPS) == set(group_options([config_dir()]))
    assert set(COMMANDS) == {path.stem for path in config_dir().glob("*.yaml")}
    lines = [*COMMANDS.values(), *(f"{group}: {text}" for group, text in GROUPS.items())]
    assert all(len(line) <= WIDTH and line.isprintable() for line in lines)


@pytest.mark.parametrize("config_name", sorted(COMMANDS))
@pytest.mark.parametrize("arguments", [["--help"], ["paths=default", "-h"]])
def test_groups_options_and_keys_of_the_command(
    arguments: list[str],
    config_name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    first, example, _, _, _, rest = helped(config_name, arguments, capsys, monkeypatch).split("\n", 5)
    assert first == COMMANDS[config_name]
    assert example.startswith(f"Example: python src/{config_name}.py ")
    groups, keys = rest.split("\nKeys, ")
    for group, names in group_options([config_dir()]).items():
        assert (f"{group}: {GROUPS[group]}\n" in groups) == takes_group(config_name, group)
        if takes_group(config_name, group):
            listed = groups.split(f"{group}: {GROUPS[group]}\n")[1].split(":")[0].rpartition("\n")[0]
            options = listed.replace("*", "").replace("\n", " ").split(", ")
            assert [option.strip() for option in options] == names
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        wanted = OmegaConf.to_container(compose(config_name), resolve=False)
    shown = yaml.safe_load(keys.partition("\n")[2].rpartition("Flags: ")[0])
    assert isinstance(wanted, dict)
    for group, used in USED.get(config_name, {}).items():
        assert set(used) <= set(wanted[group])
        wanted[group] = {key: wanted[group][key] for key in used}
    assert shown == wanted
    assert list(tmp_path.iterdir()) == []


def test_it_shows_what_is_chosen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    text = helped("train", ["--help", "op=add", "trainer.max_epochs=7"], capsys, monkeypatch)
    assert "    add*, mult, searched, shift, shift_ps\n" in text
    assert "    adamw, radam, sgd*, timm\n" in text
    assert "  max_epochs: 7\n" in text


def test_keys_that_an_evaluation_leaves_alone_are_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    text = helped("eval", ["--help"], capsys, monkeypatch)
    assert "max_epochs" not in text and "  accelerator: auto\n" in text
    assert groups_of("eval") == ["paths", "trainer", "hardware"]


def test_a_reader_that_goes_away_hears_no_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    line = f"'{sys.executable}' '{ROOT}/src/train.py' --help | head -n 1; exit ${{PIPESTATUS[0]}}"
    process = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (process.returncode, process.stderr, process.stdout) == (0, "", f"{COMMANDS['train']}\n")
