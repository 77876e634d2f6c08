"""Refuse folders that hold a run, that another run is at work in, or that cannot be made, before Hydra writes there."""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from shiftaddaug.commands import STARTED
from shiftaddaug.errors import UserError
from shiftaddaug.files import refuse_unwritable
from shiftaddaug.report.results import JOBS, SEEDS
from shiftaddaug.runs.compose import text_of
from shiftaddaug.runs.longer import is_over

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "paths.log_dir", "paths.root_dir", "paths.output_dir", "folder")
"""Keys of folders that Hydra, or a command, writes into."""

WITHIN = ("hydra.sweep.subdir", "hydra.output_subdir")
"""Keys of folders within those; one that begins with a slash lies elsewhere."""

MOMENT = "%Y-%m-%d_%H-%M-%S-%f"
"""How folders are named by the moment at which a command began (configs/hydra/default.yaml)."""


def claim_folders(arguments: list[str], command: str | None = None, made: list[Path] | None = None) -> None:
    """Refuse a folder that holds a run already, that another run is at work in, or that cannot be made.

    That is before Hydra writes into it. Folders of runs stay locked until the process ends.

    Args:
        arguments: of the command.
        command: its name, by which the folders are called that its runs lie in.
        made: to which folders are added that are made here, or later by Hydra; those that hold others first.

    Raises:
        UserError: naming the key.
    """
    if "LOCAL_RANK" in os.environ:  # a rank of a run that was already let in
        return
    given = _given(arguments)
    for key in FOLDERS:
        if given.get(key, "unset") in ("", "null"):
            raise UserError(f"{key}={given[key]}: must name a folder")
    folders = _folders(arguments)
    _refuse_runs(folders)
    made = [] if made is None else made
    for key, folder in _of_runs(folders).items():
        made += _missing(folder)
        _lock(key, folder)
    _refuse_runs(folders)  # one may have ended meanwhile
    root = folders.get("paths.root_dir", Path(os.environ["SHIFTADDAUG_ROOT"]))
    folders.setdefault("paths.log_dir", root / "logs")
    elsewhere = {key: Path(given[key]) for key in WITHIN if given.get(key, "").startswith("/")}
    for key, folder in (folders | elsewhere).items():
        refuse_unwritable(key, folder)
    within = [] if command is None else [folders["paths.log_dir"] / command / name for name in ("runs", "multiruns")]
    made += dict.fromkeys(each for folder in (folders["paths.log_dir"], *within) for each in _missing(folder))
    folders["paths.log_dir"].mkdir(parents=True, exist_ok=True)  # a sweep's study is opened before any run


def _missing(folder: Path) -> list[Path]:
    """Return the folder, and those that it lies in, as far as they are not there; the outermost first."""
    folder = folder.absolute()
    return [each for each in (*reversed(folder.parents), folder) if not each.exists()]


def leave_nothing(folder: Path | None, made: Sequence[Path]) -> None:
    """Remove what a start that was refused has written: Hydra's records and its log; and folders that are empty then.

    A folder that was there before, and one that holds anything else, stays as it is.

    Args:
        folder: of the run, if Hydra has made one.
        made: folders that this start has made, those that hold others first.
    """
    with suppress(OSError):
        if folder is not None and (folder in made or _is_of_this_start(folder.name)):
            _remove_records(folder)
    for each in reversed(made):
        with suppress(OSError):  # it is not empty
            each.rmdir()


def leave_no_jobs(refused: Sequence[Path], started: int, made: Sequence[Path]) -> None:
    """Remove what a multirun has written if all of its jobs were refused before they wrote anything themselves.

    Args:
        refused: folders of jobs that were refused.
        started: number of all jobs.
        made: folders that this start has made, as in `leave_nothing`.
    """
    sweep = refused[0].parent if refused else None
    if sweep is None or len(refused) < started or not (sweep in made or _is_of_this_start(sweep.name)):
        return
    with suppress(OSError):
        for folder in refused:
            _remove_records(folder)
        ours = [sweep / name for name in ("multirun.yaml", JOBS, SEEDS)]
        if {*sweep.iterdir()} <= {*ours}:
            for file in ours:
                file.unlink(missing_ok=True)
            sweep.rmdir()
    leave_nothing(None, made)


def _is_of_this_start(name: str) -> bool:
    """Whether a folder is named by a moment at which this process was there."""
    try:
        return datetime.strptime(name, MOMENT).timestamp() >= STARTED
    except ValueError:
        return False


def _remove_records(folder: Path) -> None:
    hydras, logs = folder / ".hydra", list(folder.glob("*.log"))
    records = [hydras / name for name in ("config.yaml", "hydra.yaml", "overrides.yaml")]
    if {*folder.iterdir()} <= {hydras, *logs} and len(logs) <= 1 and {*hydras.iterdir()} <= {*records}:
        for file in (*records, *logs):
            file.unlink(missing_ok=True)
        hydras.rmdir()
        folder.rmdir()


def _refuse_runs(folders: dict[str, Path]) -> None:
    ours = (("hydra.run.dir", "run.json"), ("paths.output_dir", "run.json"), ("hydra.sweep.dir", "*/run.json"))
    for key, pattern in ours:
        if key in folders and any(folders[key].glob(pattern)):
            last = folders[key] / "checkpoints" / "last.ckpt"
            stopped = last.exists() and not is_over(folders[key])
            remedy = f"ckpt_path={last} resumes it in a new folder" if stopped else "give another folder"
            raise UserError(f"{key}={folders[key]}: holds a run already, which is never overwritten; {remedy}")


def refuse_within_runs(arguments: list[str], config_name: str) -> None:
    """Refuse a folder inside of a run's, such as its target/: the files of two runs would be mixed.

    An evaluation or a fit may have a folder of its own there.

    Raises:
        UserError: naming the key.
    """
    for key, folder in _folders(arguments).items():
        place = Path(os.path.abspath(folder))
        run = next((parent for parent in place.parents if (parent / "run.json").exists()), None)
        if run is None:
            continue
        below = place.relative_to(run).parts[0]
        if config_name in ("train", "ablate") or below in ("target", "checkpoints"):
            raise UserError(f"{key}={folder}: is inside of {run}, which holds a run; give a folder outside of it")


def _folders(arguments: list[str]) -> dict[str, Path]:
    """Return the folders that arguments name, by key, as far as they are no interpolations."""
    given = _given(arguments)
    return {key: Path(given[key]).expanduser() for key in FOLDERS if key in given and "${" not in given[key]}


def _given(arguments: list[str]) -> dict[str, str]:
    """Return what arguments give the keys of folders, as text."""
    return {key: text_of(each) for each in arguments for key in (*FOLDERS, *WITHIN) if each.startswith(f"{key}=")}


def _of_runs(folders: dict[str, Path]) -> dict[str, Path]:
    """Folders that one run or sweep alone writes into, each once."""
    keys = ("hydra.run.dir", "hydra.sweep.dir", "paths.output_dir")
    named = {folders[key].absolute(): key for key in reversed(keys) if key in folders}
    return {key: folder for folder, key in named.items()}


def _lock(key: str, folder: Path) -> None:
    """Lock a folder itself, which leaves nothing in it; a process that ends gives its locks back."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{key}={folder}: another run is at work there; give another folder") from None
    except OSError:  # what cannot be made is refused below; some network file systems know no locks
        return
