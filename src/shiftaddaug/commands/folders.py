"""Refuse folders and groups that Hydra would answer with a traceback, before it writes anything."""

import fcntl
import os
import re
from pathlib import Path

from shiftaddaug.errors import UserError
from shiftaddaug.files import refuse_unwritable
from shiftaddaug.runs.compose import OPTIONAL_GROUPS, config_dir, group_options

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "paths.log_dir", "paths.root_dir", "paths.output_dir", "folder")
"""Keys of folders that Hydra, or a command, writes into."""

WITHIN = ("hydra.sweep.subdir", "hydra.output_subdir")
"""Keys of folders within those; one that begins with a slash lies elsewhere."""

NO_OPTION = re.compile(r"[\w/]+=['\"]?(null|true|false|[-+]?[\d.]+(e[-+]?\d+)?|([\w/]+/)?_\w*)['\"]?", re.IGNORECASE)
"""A group that is given what Hydra reads as no name, or as the name of what options inherit from."""


def refuse_no_options(arguments: list[str]) -> None:
    """Answer `logger=null`, `data=3` and `~trainer`, which Hydra meets with a traceback, and `aug=_base`.

    Raises:
        UserError: naming the group and its options.
    """
    given = [argument for argument in arguments if argument.startswith("~") or NO_OPTION.fullmatch(argument)]
    groups = group_options([config_dir()]) if given else {}
    for argument in given:
        group, _, value = argument.lstrip("~").partition("=")
        folder = f"{group}/{value}".rpartition("/")[0] if value else group
        if folder not in groups or (argument.startswith("~") and group in OPTIONAL_GROUPS):
            continue
        remedy = "; leave it out for none" if group in OPTIONAL_GROUPS else ""
        raise UserError(f"{argument}: no such option; options: {', '.join(groups[folder])}{remedy}")


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
    folders = {
        key: Path(given[key].strip("'\"")).expanduser() for key in FOLDERS if key in given and "${" not in given[key]
    }
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
