"""The command that goes on with a run: what was typed for it, and its checkpoint. Imports no torch."""

import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
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
from shiftaddaug.runs.identity import FREE
from shiftaddaug.runs.longer import (
    CALLBACKS,
    MAX_EPOCHS,
    MAX_TIME,
    SUPERNET,
    ended_by,
    has_more_time,
    is_over,
    was_cut_short,
)
from shiftaddaug.settings import shown

OF_ONE_RUN = ("ckpt_path", "resume", "paths.output_dir", "hydra", "sweep")
"""Keys, with all below them, that say where one run lies, or how it was searched: another goes on elsewhere."""
OF_THE_ASKER = ({*FREE} | {"train"}) - {"plugins", "net.path", "net.searched_at"}
"""Keys that change nothing of what is trained: who resumes a run may give them other values. The rest says where its
code and its net are found."""
PROCESSES = ("trainer.devices", "trainer.num_nodes")
"""Keys that `train=false` has in its own way: one process deploys and tests."""
Difference = tuple[str, Any, Any]
"""A key on which two runs differ, what it was and what it is."""
COMMANDS = ("train.py", "search.py")


def command(overrides: Iterable[str], ckpt_path: object) -> str:
    """Return the command that resumes a checkpoint, as it is typed in a shell.

    Args:
        overrides: of the run that left it.
        ckpt_path: of the checkpoint.
    """
    return f"{_program()} {shlex.join([*_kept(overrides), typed('ckpt_path', ckpt_path)])}"


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


@dataclass(frozen=True)
class Refused:
    """A command that would resume, or deploy, a checkpoint of a run that trains otherwise."""

    path: Path
    """File of the checkpoint."""
    theirs: Mapping[str, Any]
    """The configuration in the checkpoint."""
    ours: Mapping[str, Any]
    """The configuration of the refused command."""
    typed: tuple[str, ...] = ()
    """Overrides of the refused command."""
    trains: bool = True
    """Whether it trains further; else it deploys the weights as they are."""

    @property
    def run(self) -> Path:
        """The folder of the checkpoint's run."""
        return self.path.absolute().parents[1]

    def remedy(self, differing: Iterable[Difference]) -> str:
        """Return how the run goes on, or is deployed, by a command that is not refused.

        Where a default has changed since, the command says what it was, by the key or by the option of a group that
        goes without it, or the answer which version had it.

        Args:
            differing: each key that differs, what it was and what it is.
        """
        finished, recorded = self.trains and is_over(self.run), overrides_of(self.run)
        if recorded is None:
            again = "repeat the overrides of the run that is resumed"
            return f"{again}, which has finished: {self._of_finished(None)}" if finished else again
        overrides, since = self._repeated(self._as_asked(recorded), differing)
        if finished:
            return f"{since}that run has finished; {self._of_finished(overrides)}"
        does = "it goes on by" if self.trains else "it is deployed by"
        return f"{since}{does}: {command(overrides, self.path)}"

    def _as_asked(self, recorded: list[str]) -> list[str]:
        """Return the overrides of the run with those of the refused command that any run may change in their place."""
        given = [each for each in self.typed if _starts(each, OF_THE_ASKER)]
        if not self.trains and not any(_starts(each, ("train",)) for each in given):
            given.append("train=false")
        replaced = {_key(each) for each in given} | (set() if self.trains else {"test", *PROCESSES})
        overrides = [*_without(recorded, *replaced), *given]
        if not self.trains or not was_cut_short(self.run):
            return overrides
        enough = has_more_time(self.run, self.theirs, self.ours)
        limit = [each for each in given if enough and _starts(each, (MAX_TIME,))]
        return [*_without(overrides, MAX_TIME), *(limit or [f"{MAX_TIME}=null"])]

    def _repeated(self, overrides: list[str], differing: Iterable[Difference]) -> tuple[list[str], str]:
        """Return overrides that give keys their values again; and which version did so, where none can."""
        composed, since = _composed(overrides), ""
        for key, was, is_now in differing:
            if is_now is None or _selected(composed, key) in (was, None):
                continue
            if was is not None:
                overrides = [*overrides, f"{key}={_typed(was)}"]
                continue
            without = (each for each in _choices_without(key) if _selected(_composed([*overrides, each]), key) is None)
            choice = next(without, None)
            if choice is None:
                since = f"a default has changed since; at git commit {_commit(self.run)} "
            elif choice not in overrides:
                overrides = [*overrides, choice]
        return overrides, since

    def _of_finished(self, overrides: list[str] | None) -> str:
        """Return what trains a finished run further, and what tests it; None are overrides that nobody knows."""
        epochs, asked = (config["trainer"]["max_epochs"] for config in (self.theirs, self.ours))
        above, by = f"{MAX_EPOCHS} above {epochs}", ended_by(self.run)
        more = asked if asked > epochs else 2 * epochs
        told = []
        if by.startswith(CALLBACKS):
            told.append(f"{by} has ended it, and would end it again")
        elif overrides is None:
            told.append(f"{above} trains it further")
        else:
            further = command([*_without(overrides, MAX_EPOCHS), f"{MAX_EPOCHS}={more}"], self.run)
            told.append(f"{further} trains it further ({above})")
        if SUPERNET in self.theirs:
            return told[0]
        deployed = [*_without(overrides or (), "train", "test", *PROCESSES), "train=false"]
        return f"{told[0]}; {command(deployed, self.run) if overrides is not None else 'train=false'} tests it"


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


def _composed(overrides: list[str]) -> DictConfig | None:
    """Return what overrides give today; None if that cannot be told."""
    try:
        return compose("train", _kept(overrides))
    except (HydraException, OmegaConfBaseException):
        return None


def _selected(composed: DictConfig | None, key: str) -> Any:
    try:
        return None if composed is None else OmegaConf.select(composed, key)
    except OmegaConfBaseException:
        return None


def _commit(run: Path) -> str:
    try:
        return str(read_json(run / RUN)["git_commit"])[:10]
    except (OSError, *DAMAGE):
        return "unknown"


def _kept(overrides: Iterable[str]) -> list[str]:
    """Return what another run repeats. Older runs were typed `+trainer.max_time`, which has become a key since."""
    kept = (each for each in overrides if not _starts(each, OF_ONE_RUN))
    return [each.lstrip("+") if _key(each) == MAX_TIME else each for each in kept]


def _without(overrides: Iterable[str], *keys: str) -> list[str]:
    return [each for each in overrides if not _starts(each, keys)]


def _typed(value: Any) -> str:
    if value is None or isinstance(value, int | float):
        return shown(value)
    return f"[{','.join(map(_typed, value))}]" if isinstance(value, list | tuple) else quoted(value)


def _starts(override: str, keys: Iterable[str]) -> bool:
    key = _key(override)
    return any(key == each or key.startswith((f"{each}.", f"{each}/")) for each in keys)


def _key(override: str) -> str:
    return re.split(r"[=@]", override.lstrip("+~"), maxsplit=1)[0]


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
