"""Find, read and check the checkpoints a user names."""

import pickle
from pathlib import Path
from typing import Any

import torch

from shiftaddaug.errors import UserError

LAST = "last"
"""`ckpt_path=last`: the newest run's last checkpoint."""

IDENTITY = ("net.name", "op.name", "data.name", "data.image_size", "aug.width_multipliers", "aug.expand_multipliers")
"""Configuration keys in which a run and the checkpoint it resumes must agree."""


def find_checkpoint(ckpt_path: str, log_dir: Path) -> Path:
    """The file that `ckpt_path` means.

    Raises:
        UserError: no such file, or no checkpoint to resume under `log_dir`.
    """
    if ckpt_path == LAST:
        found = sorted(log_dir.rglob("checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise UserError(f"ckpt_path=last: no checkpoints/last.ckpt in any run under {log_dir}")
        return found[-1]
    path = Path(ckpt_path).expanduser()
    if not path.is_file():
        raise UserError(f"ckpt_path={ckpt_path}: no such file; options: a .ckpt file, or last")
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU, read without executing anything.

    Raises:
        UserError: truncated, or no checkpoint of this project.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"ckpt_path={path}: not a readable checkpoint, perhaps truncated ({reason})") from None
    if not isinstance(checkpoint, dict) or "config" not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(f"ckpt_path={path}: holds no run of this project (no configuration in it)")
    return checkpoint


def refuse_other_run(path: Path, checkpoint: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse to resume a checkpoint of another network, operator or data set.

    Raises:
        UserError: naming the key, and both values.
    """
    for key in IDENTITY:
        theirs, ours = (_get(container, key) for container in (checkpoint["config"], config))
        if theirs != ours:
            raise UserError(f"ckpt_path={path}: was trained with {key}={theirs}, this run has {key}={ours}")


def _get(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
