"""Find, read and check the checkpoints a user names. Imports no torch until one is read."""

import logging
import math
import os
import pickle
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.errors import UserError
from shiftaddaug.files import remove_halves
from shiftaddaug.report.results import resumed_run
from shiftaddaug.runs.again import Refused
from shiftaddaug.runs.held import running
from shiftaddaug.runs.identity import differences, first_difference
from shiftaddaug.runs.longer import CALLBACKS, MAX_EPOCHS, SUPERNET, as_short, ended_by, is_over, refuse_finished
from shiftaddaug.runs.named import LAST, checkpoint_in, trained, was_debugged
from shiftaddaug.runs.resumed import refuse_incomplete
from shiftaddaug.settings import shown

if TYPE_CHECKING:
    from shiftaddaug.runs.settings import RunSettings

log = logging.getLogger(__name__)

LONGEST = 300
"""Characters of a stored value that a message shows."""
FOUND = "SHIFTADDAUG_RESUMED"
"""Variable of the environment, in which the first process of a run tells the others which checkpoint it resumes."""


def find_checkpoint(ckpt_path: str, log_dir: Path, config: Mapping[str, Any], trains: bool = True) -> Path:
    """Return the file that `ckpt_path` means.

    Args:
        ckpt_path: of a file, or of a run's folder; or `last`, which means the newest run that was stopped and trains
            the same. A run stands for its last checkpoint.
        log_dir: of all runs.
        config: of the run that resumes it, as plain containers.
        trains: whether it is trained further; else a run stands for its best checkpoint, where it has one.

    Raises:
        UserError: no such file, or no checkpoint to resume under `log_dir`.
    """
    if ckpt_path == LAST:
        last = _find_last(log_dir, config)
        return last if trains else trained(last.parent)
    stands_for = checkpoint_in if trains else trained
    path = stands_for(Path(ckpt_path).expanduser())
    if path.parent.is_dir():
        remove_halves(path.parent)
    if not path.is_file():
        missing = "holds no checkpoint of a training" if path.is_dir() else "no such file"
        raise UserError(f"ckpt_path={ckpt_path}: {missing}; options: a run's folder, a .ckpt file, or last")
    return path


def _find_last(log_dir: Path, config: Mapping[str, Any]) -> Path:
    """Return the newest checkpoint that a run may go on from; if there is none, the most similar, which others refuse.

    That is the one whose configuration differs in the fewest keys, the newest of several.
    """
    found = _last_ones(log_dir)
    if not found:
        raise UserError(f"ckpt_path=last: no checkpoints/last.ckpt in any run under {log_dir}")
    if told := os.environ.get(FOUND) if "LOCAL_RANK" in os.environ else None:  # to this process, by the first one
        return Path(told)
    at_work = running(log_dir)
    stopped = _stopped(found, at_work)
    same = next((path for path in stopped if _differing(path, config) == 0), None)
    if same is not None:
        return same
    _refuse_done(found, at_work, config)
    if not stopped and at_work:
        raise UserError(
            f"ckpt_path=last: no run under {log_dir} was stopped and has not finished; {max(at_work)} is still training"
        )
    if not stopped:
        raise UserError(
            f"ckpt_path=last: all runs under {log_dir} that left a checkpoint have finished, the newest in "
            f"{found[0].parents[1]}; leave it out to train anew, or name that one and a larger trainer.max_epochs"
        )
    return min(stopped, key=lambda path: _differing(path, config))


def _refuse_done(found: Iterable[Path], at_work: Collection[Path], config: Mapping[str, Any]) -> None:
    """Refuse to look for a stopped run where one that trains the same has finished, or is at work.

    Raises:
        UserError: naming its folder.
    """
    for run, path in ((path.absolute().parents[1], path) for path in found):
        if run in at_work and _differing(path, config) == 0:
            raise UserError(f"ckpt_path={LAST}: the run of these overrides is still training ({run})")
        if is_over(run) and _differing(path, config) == 0:
            epochs = read_config(path).get("trainer", {}).get("max_epochs")
            further = f"{MAX_EPOCHS} above {epochs}, which trains it further"
            options = [] if ended_by(run).startswith(CALLBACKS) else [further]
            options += [] if SUPERNET in config else ["train=false, which deploys and tests it"]
            raise UserError(
                f"ckpt_path={LAST}: the run of these overrides has finished ({run})"
                + (f"; options: ckpt_path={run} with {', or with '.join(options)}" if options else "")
            )


def resumable(ckpt_path: str, log_dir: Path) -> list[Path]:
    """Return the checkpoints that `ckpt_path` may mean, the newest first; none if there are none.

    Args:
        ckpt_path, log_dir: as of `find_checkpoint`, which chooses by the configuration of the run.
    """
    path = checkpoint_in(Path(ckpt_path).expanduser())
    if ckpt_path == LAST:
        return _stopped(_last_ones(log_dir), running(log_dir))
    return [path] if path.is_file() else []


def _last_ones(log_dir: Path) -> list[Path]:
    """Last checkpoints of runs, the newest first; nothing goes on from a run that was for debugging."""
    found = [path for path in log_dir.rglob("checkpoints/last.ckpt") if not was_debugged(path.parents[1])]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _stopped(found: Collection[Path], at_work: Collection[Path]) -> list[Path]:
    over = _finished_runs(path.parents[1] for path in found) | set(at_work)
    return [path for path in found if path.absolute().parents[1] not in over]


def _finished_runs(folders: Iterable[Path]) -> set[Path]:
    """Return those runs that have finished, and those that a finished one went on from."""
    runs = {folder.absolute() for folder in folders}
    finished: set[Path] = set()
    for run in runs:
        attempt: Path | None = run if is_over(run) else None
        while attempt is not None and attempt not in finished:
            finished.add(attempt)
            attempt = resumed_run(attempt)
    return finished


def _differing(path: Path, config: Mapping[str, Any]) -> float:
    """Return on how many keys a checkpoint's run trains differently; one that cannot be read is unlike all others."""
    try:
        return sum(1 for _ in differences(read_config(path), config))
    except UserError:
        return math.inf


def check_resumed(settings: "RunSettings") -> None:
    """Find the checkpoint that a run resumes, and see that it is of the same run.

    Warns of another number of devices.

    Raises:
        UserError: there is none, it is damaged or incomplete, of another run, written within an epoch, or of a run that
            has finished and gets no more epochs: resuming that would test the same target once more.
    """
    if settings.top.ckpt_path is None:
        return
    trains = settings.top.train
    path = find_checkpoint(str(settings.top.ckpt_path), Path(settings.paths.log_dir), settings.trained, trains)
    content = _read_plainly(path)
    theirs = content["config"]
    refuse_other_run(path, {"config": theirs}, settings.trained, settings.typed, trains)
    if not trains:  # its weights are deployed as they are, whenever they were saved
        return
    refuse_finished(path, theirs, settings.config)
    _refuse_half_epoch(path, content)
    refuse_incomplete(
        path, content, best=settings.validated and bool(settings.config["callbacks"].get("best_checkpoint"))
    )
    devices, ours = theirs["trainer"].get("devices"), settings.config["trainer"].get("devices")
    if isinstance(devices, int) and isinstance(ours, int) and devices != ours:
        log.warning(
            "ckpt_path=%s: was trained with trainer.devices=%s, this run has trainer.devices=%s: the batches of "
            "all processes together are of another size, and losses differ from those of the resumed run",
            *(path, devices, ours),
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU, read without executing anything.

    Raises:
        UserError: truncated, or no checkpoint of this project.
    """
    import torch

    try:
        _refuse_damage(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise almost anything
        raise _unreadable(path, error) from None
    return _of_a_run(path, checkpoint)


def _refuse_damage(path: Path) -> None:
    """Compare the checksums in the archive, which torch writes and does not look at.

    Raises:
        ValueError: naming what is damaged; others where it is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} in it has another checksum than was written")


def _refuse_half_epoch(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse what a validation within an epoch has left: a run goes on where an epoch has ended.

    Raises:
        UserError: it is of that kind.
    """
    try:
        whole = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    except (LookupError, TypeError):  # of no trainer that we know
        return
    if not whole:
        raise UserError(
            f"ckpt_path={path}: was written within an epoch (trainer.val_check_interval), and a run goes on where one "
            f"has ended; options: last.ckpt beside it"
        )


def read_config(path: Path) -> dict[str, Any]:
    """The configuration in a checkpoint, without torch and without executing anything.

    Raises:
        UserError: as `read_checkpoint`.
    """
    config: dict[str, Any] = _read_plainly(path)["config"]
    return config


def _read_plainly(path: Path) -> dict[str, Any]:
    """A checkpoint whose tensors are left out, without torch and without executing anything."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                checkpoint = _PlainUnpickler(file).load()
    except Exception as error:
        raise _unreadable(path, error) from None
    return _of_a_run(path, checkpoint)


class _Object:
    """Stands for whatever is not plain: tensors, and containers with a class of their own."""

    def __init__(self, *arguments: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def append(self, value: Any) -> None: ...


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Object]:
        return _Object

    def persistent_load(self, pid: Any) -> None:
        return None


def _of_a_run(path: Path, checkpoint: Any) -> dict[str, Any]:
    config = checkpoint.get("config") if isinstance(checkpoint, dict) else None
    if not isinstance(config, dict) or "state_dict" not in checkpoint:
        raise UserError(f"ckpt_path={path}: holds no run of this project (no configuration in it)")
    return checkpoint


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:120]
    return UserError(f"ckpt_path={path}: not a readable checkpoint, perhaps truncated ({reason})")


def refuse_other_run(
    path: Path,
    checkpoint: Mapping[str, Any],
    config: Mapping[str, Any],
    typed: Sequence[str] = (),
    trains: bool = True,
) -> None:
    """Refuse to resume what was not the same run: half of it would be the one, half the other.

    A run that has finished may get more epochs.

    Args:
        path: of the checkpoint.
        checkpoint: with the configuration of its run.
        config: of the training that resumes it.
        typed: overrides of the refused command. The command in the answer keeps those that any run may change.
        trains: whether it is trained further, or deployed as it is.

    Raises:
        UserError: naming the first key that differs, and both values.
    """
    theirs = checkpoint["config"]
    difference = first_difference(theirs, as_short(path, theirs, config))
    if difference is not None:
        key, was, is_now = difference
        remedy = Refused(path, theirs, config, tuple(typed), trains).remedy(difference)
        raise UserError(
            f"ckpt_path={path}: was trained with {key}={_short(was)}, this run has {key}={_short(is_now)}; {remedy}"
        )


def _short(value: Any) -> str:
    """Return a value as one writes it, the beginning of a long one."""
    text = shown(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
