"""The command that goes on with a run: what was typed for it, and its checkpoint. Imports no torch."""

import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shiftaddaug.errors import DAMAGE
from shiftaddaug.files import read_yaml
from shiftaddaug.report.results import RUN, read_json
from shiftaddaug.runs.compose import (
    OPTIONAL_GROUPS,
    compose,
    config_dir,
    group_options,
    groups_of,
    quoted,
    text_of,
    typed,
)
from shiftaddaug.settings import shown

OF_ONE_RUN = ("ckpt_path", "resume", "paths.output_dir", "hydra", "sweep")
"""Keys, with all below them, that say where one run lies, or how it was searched: another goes on elsewhere."""
COMMANDS = ("train.py", "search.py")


def command(overrides: Iterable[str], ckpt_path: object) -> str:
    """Return the command that resumes a checkpoint, as it is typed in a shell.

    Args:
        overrides: of the run that left it.
        ckpt_path: of the checkpoint.
    """
    kept = [each for each in overrides if not _starts(each, OF_ONE_RUN)]
    return f"{_program()} {shlex.join([*kept, typed('ckpt_path', ckpt_path)])}"


def overrides_of(run: Path) -> list[str] | None:
    """Return what was typed for a run, by what Hydra left in its folder; None if that is not there.

    Relative paths are taken from where the run was started.
    """
    try:
        overrides = read_yaml(run / ".hydra" / "overrides.yaml")
        where = read_yaml(run / ".hydra" / "hydra.yaml")["hydra"]["runtime"]["cwd"]
        return [_from(Path(where), str(override)) for override in overrides]
    except (OSError, yaml.YAMLError, *DAMAGE):
        return None


def to_resume(path: Path, difference: tuple[str, Any, Any]) -> str | None:
    """Return how a checkpoint goes on as its run was, with the command; None if what was typed for that is unknown.

    Where a default has changed since, the command says what it was, by the key or by the option of a group that goes
    without it, or the answer which version had it.

    Args:
        path: of the checkpoint.
        difference: the first key that differs, what it was and what it is.
    """
    run = path.absolute().parents[1]
    theirs = overrides_of(run)
    if theirs is None:
        return None
    key, was, is_now = difference
    if _composed(theirs, key) in (was, None) or is_now is None:
        return f"it goes on by: {command(theirs, path)}"
    if was is not None:
        return f"it goes on by: {command([*theirs, f'{key}={_typed(was)}'], path)}"
    for choice in _choices_without(key):
        if _composed([*theirs, choice], key) is None:
            return f"it goes on by: {command([*theirs, choice], path)}"
    return f"a default has changed since; at git commit {_commit(run)} it goes on by: {command(theirs, path)}"


def _choices_without(key: str) -> Iterator[str]:
    """Return the options of groups that fill the node of a key, as bn does callbacks.recalibrate."""
    for group, options in group_options([config_dir()]).items():
        if group not in groups_of("train") or group in OPTIONAL_GROUPS:
            continue
        for option in options:
            first, _, _ = (config_dir() / group / f"{option}.yaml").read_text().partition("\n")
            package = first.removeprefix("# @package ")
            if package != first and "." in package and key.startswith(f"{package}."):
                yield f"{group}={option}"


def _composed(overrides: list[str], key: str) -> Any:
    """Return what overrides give a key today; None if that cannot be told."""
    try:
        return OmegaConf.select(compose("train", _kept(overrides)), key)
    except (HydraException, OmegaConfBaseException):
        return None


def _commit(run: Path) -> str:
    try:
        return str(read_json(run / RUN)["git_commit"])[:10]
    except (OSError, *DAMAGE):
        return "unknown"


def _kept(overrides: Iterable[str]) -> list[str]:
    return [each for each in overrides if not _starts(each, OF_ONE_RUN)]


def _typed(value: Any) -> str:
    if value is None or isinstance(value, int | float):
        return shown(value)
    return f"[{','.join(map(_typed, value))}]" if isinstance(value, list | tuple) else quoted(value)


def _starts(override: str, keys: Iterable[str]) -> bool:
    key = re.split(r"[=@]", override.lstrip("+~"), maxsplit=1)[0]
    return any(key == each or key.startswith((f"{each}.", f"{each}/")) for each in keys)


def _from(where: Path, override: str) -> str:
    """Return an override whose value is a path relative to a folder that is not this one with that path whole."""
    key, _, _ = override.partition("=")
    text = text_of(override)
    if where == Path.cwd() or not text or "/" in key or Path(text).is_absolute() or not (where / text).exists():
        return override
    return typed(key, where / text)


def _program() -> str:
    """Return how this command was called; outside of one, how a training is."""
    name = Path(sys.argv[0]).name
    if name.startswith("shiftaddaug-"):
        return name
    return f"python {shlex.quote(sys.argv[0]) if name in COMMANDS else 'src/train.py'}"
