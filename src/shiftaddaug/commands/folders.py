"""Refuse folders that hold a run, that another run is at work in, or that cannot be made, before Hydra writes there."""

import fcntl
import os
from pathlib import Path

from shiftaddaug.errors import UserError
from shiftaddaug.files import refuse_unwritable

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "paths.log_dir", "paths.root_dir", "paths.output_dir", "folder")
"""Keys of folders that Hydra, or a command, writes into."""

WITHIN = ("hydra.sweep.subdir", "hydra.output_subdir")
"""Keys of folders within those; one that begins with a slash lies elsewhere."""


def claim_folders(arguments: list[str]) -> None:
    """Refuse a folder that holds a run already, that another run is at work in, or that cannot be made.

    That is before Hydra writes into it. Folders of runs stay locked until the process ends.

    Raises:
        UserError: naming the key.
    """
    if "LOCAL_RANK" in os.environ:  # a rank of a run that was already let in
        return
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for key in FOLDERS:
        if given.get(key, "unset").strip("'\"") in ("", "null"):
            raise UserError(f"{key}={given[key]}: must name a folder")
    folders = _folders(arguments)
    _refuse_runs(folders)
    for key, folder in _of_runs(folders).items():
        _lock(key, folder)
    _refuse_runs(folders)  # one may have ended meanwhile
    root = folders.get("paths.root_dir", Path(os.environ["SHIFTADDAUG_ROOT"]))
    folders.setdefault("paths.log_dir", root / "logs")
    elsewhere = {
        key: Path(given[key].strip("'\"")) for key in WITHIN if given.get(key, "").strip("'\"").startswith("/")
    }
    for key, folder in (folders | elsewhere).items():
        refuse_unwritable(key, folder)
    folders["paths.log_dir"].mkdir(parents=True, exist_ok=True)  # a sweep's study is opened before any run


def _refuse_runs(folders: dict[str, Path]) -> None:
    for key, pattern in (("hydra.run.dir", "run.json"), ("hydra.sweep.dir", "*/run.json")):
        if key in folders and any(folders[key].glob(pattern)):
            last = folders[key] / "checkpoints" / "last.ckpt"
            remedy = f"ckpt_path={last} resumes it in a new folder" if last.exists() else "give another folder"
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
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    return {
        key: Path(given[key].strip("'\"")).expanduser() for key in FOLDERS if key in given and "${" not in given[key]
    }


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
