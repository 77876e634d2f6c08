"""What a user names a run by: its folder, a file in it, or `last`. Imports no torch."""

from pathlib import Path

from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.report.results import RESULTS, RUN, read_json

LAST = "last"
"""`ckpt_path=last`: of a training, the newest run that was stopped; of an evaluation, the newest that has finished."""
TARGET, ARCHITECTURE = "target", "architecture.json"
CHECKPOINTS, BEST_CHECKPOINT, LAST_CHECKPOINT = "checkpoints", "best.ckpt", "last.ckpt"


def was_debugged(run: Path) -> bool:
    """Whether a run was for debugging."""
    try:
        return bool(read_json(run / RUN).get("debug"))
    except (OSError, *DAMAGE):
        return False


def checkpoint_in(path: Path) -> Path:
    """Return the last checkpoint of a run, given its folder or that of its checkpoints; a file as it is."""
    places = (path / CHECKPOINTS / LAST_CHECKPOINT, path / LAST_CHECKPOINT)
    return next((place for place in places if place.exists()), path)


def trained(path: Path) -> Path:
    """Return the best checkpoint of a run, or its last one, given its folder or that of its checkpoints.

    Anything else is returned as it is.
    """
    places = (folder / name for folder in (path / CHECKPOINTS, path) for name in (BEST_CHECKPOINT, LAST_CHECKPOINT))
    return next((place for place in places if place.exists()), path)


def evaluated(key: str, named: str, log_dir: Path) -> Path:
    """Return a target's folder, or a file: what is evaluated.

    Args:
        key: that names it, for messages.
        named: a run's folder, which stands for its target; a target's folder; a .ckpt file; or `last`.
        log_dir: of all runs.

    Raises:
        UserError: there is none.
    """
    if named == LAST:
        return newest_target(key, log_dir)
    path = Path(named).expanduser()
    if not path.exists():
        raise UserError(f"{key}={path}: no such file; options: {LAST}, a run's folder, its target/, or a .ckpt file")
    if not path.is_dir() or (path / ARCHITECTURE).exists():
        return path
    if (path / TARGET).is_dir():
        return path / TARGET
    if checkpoint_in(path) == path:
        raise UserError(f"{key}={path}: holds neither a run nor a target; options: {LAST}, a run's folder")
    raise UserError(
        f"{key}={path}: has no target, for that run has not finished; options: {checkpoint_in(path)}, its supernet, or "
        f"ckpt_path={path} of src/train.py, which goes on with it"
    )


def newest_target(key: str, log_dir: Path) -> Path:
    """Return the target of the newest finished run, those for debugging left out.

    Raises:
        UserError: none has finished.
    """
    targets = [path.parent for path in log_dir.rglob(f"{TARGET}/{ARCHITECTURE}")]
    finished = [path for path in targets if (path.parent / RESULTS).exists() and not was_debugged(path.parent)]
    if not finished:
        raise UserError(f"{key}={LAST}: no run under {log_dir} has finished; options: python src/train.py trains one")
    return max(finished, key=lambda target: (target.parent / RESULTS).stat().st_mtime)
