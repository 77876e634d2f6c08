"""`resume=true`: finished runs are not repeated, and those that were stopped go on. No torch."""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from yaml import YAMLError

from shiftaddaug.data.checks import holds_any_images
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.files import read_yaml
from shiftaddaug.report.recorded import read_results
from shiftaddaug.report.results import CONFIG, RESULTS, REUSED, RUN, read_json, write_json
from shiftaddaug.runs.checkpoints import FOUND, find_checkpoint
from shiftaddaug.runs.held import hold
from shiftaddaug.runs.identity import IDENTITY, are_alike, first_difference, identity_hash
from shiftaddaug.runs.longer import LENGTHENED, has_more_time
from shiftaddaug.runs.named import LAST
from shiftaddaug.runs.settings import RunSettings

log = logging.getLogger(__name__)


def going_on(settings: RunSettings, held: ExitStack) -> tuple[RunSettings, float | None]:
    """Return what is left of a run: its settings, with a checkpoint if it was begun, and its score if it was finished.

    Runs under `paths.log_dir` are looked at, unless this one is for debugging, which always trains. One that another
    process trains is left alone, as far as the file system knows locks.

    Args:
        settings: of the run.
        held: is left when the run ends; until then its folder, and that of the run that it goes on from, are locked.

    Raises:
        UserError: a checkpoint is given, too; or what has finished was not tested, and this run is to be.
    """
    if not settings.top.resume or settings.top.debug:
        return settings, None
    if settings.top.ckpt_path is not None:
        raise UserError(f"resume=true: finds what it resumes; leave out ckpt_path={settings.top.ckpt_path}")
    if "LOCAL_RANK" in os.environ:
        return _following(settings), None
    os.environ[FOUND] = ""
    settings.folder.mkdir(parents=True, exist_ok=True)
    hold(settings.folder, held)
    alike = list(_runs_alike(settings))
    finished = [run for run in alike if _has_results(run) and _is_scored_alike(run, settings.config)]
    if finished:
        return settings, _reuse(_tested(finished, settings), settings)
    for run in alike:
        last = run / "checkpoints" / "last.ckpt"
        ended = (run / RESULTS).exists() and not has_more_time(run, _config_in(run), settings.config)
        if last.exists() and not ended and hold(run, held):
            log.info("resume=true: goes on from %s", last)
            os.environ[FOUND] = str(last)
            return from_checkpoint(settings, str(last)), None
    return settings, None


def found(settings: RunSettings, held: ExitStack) -> RunSettings:
    """Return the settings of a run with the file that its `ckpt_path` means, `last` or a folder.

    Args:
        settings: of the run.
        held: is left when the run ends; until then the run that `last` means is locked.

    Raises:
        UserError: there is none.
    """
    named = settings.top.ckpt_path
    if named is None:
        return settings
    path = find_checkpoint(str(named), Path(settings.paths.log_dir), settings.trained, settings.top.train)
    if "LOCAL_RANK" not in os.environ:
        os.environ[FOUND] = str(path)
        if named == LAST:
            hold(path.parents[1], held)
    return from_checkpoint(settings, str(path))


def _tested(finished: Sequence[Path], settings: RunSettings) -> Path:
    """Return the newest finished run, of those that have been tested if this one is to be.

    Raises:
        UserError: none has been. What was trained need not be trained again.
    """
    tested = [run for run in finished if not settings.top.test or _config_in(run).get("test", True)]
    if not tested:
        best = finished[0] / "checkpoints" / ("best.ckpt" if settings.validated else "last.ckpt")
        raise UserError(
            f"resume=true: {finished[0]} has finished with test=false, and this run has test=true; options: "
            f"test=false, or train=false ckpt_path={best}, which tests it"
        )
    return tested[0]


def _following(settings: RunSettings) -> RunSettings:
    """Return the settings of another process of a run, whose first one has found what to resume."""
    if FOUND not in os.environ:
        raise UserError("resume=true: needs a trainer that starts its processes itself; options: ckpt_path=last")
    return from_checkpoint(settings, os.environ[FOUND]) if os.environ[FOUND] else settings


def from_checkpoint(settings: RunSettings, path: str) -> RunSettings:
    """Return the settings of a run that resumes a checkpoint."""
    config = {**settings.config, "ckpt_path": path}
    return replace(settings, top=replace(settings.top, ckpt_path=path), config=config)


def _reuse(run: Path, settings: RunSettings) -> float:
    """Return the score of a finished run, and note in the folder of this one where its results are."""
    write_json(settings.folder / REUSED, {"folder": str(run)})
    headline, results = settings.task.headline_figure, read_results(run / RESULTS)
    value = results.get(headline.key("val"))
    shown = "" if value is None else f": {headline.title} {headline.written(value)} on validation"
    log.info("resume=true: %s has finished%s", run, shown)
    return math.nan if value is None else headline.measured(value)


def _runs_alike(settings: RunSettings) -> Iterator[Path]:
    """Folders of other runs that train the same, the newest first."""
    found = [path.parent.absolute() for path in Path(settings.paths.log_dir).rglob(RUN)]
    found = [run for run in found if run != settings.folder.absolute() and (run / CONFIG).exists()]
    ours = identity_hash(settings.config)
    for run in sorted(found, key=lambda run: (run / RUN).stat().st_mtime, reverse=True):
        with suppress(OSError, YAMLError, *DAMAGE):  # a damaged one is none of ours
            said = read_json(run / RUN)
            alike = are_alike(str(said.get(IDENTITY)), ours)
            if said.get(LENGTHENED):
                continue
            if alike or (alike is None and first_difference(_config_in(run), settings.config) is None):
                yield run


@lru_cache(maxsize=4096)
def _config_in(run: Path) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", read_yaml(run / CONFIG))


def _has_results(run: Path) -> bool:
    """Whether a run has finished, and what it measured can be read; one whose results are damaged trains again."""
    try:
        return (run / RESULTS).exists() and bool(read_results(run / RESULTS))
    except UserError as error:
        log.warning("resume=true: is not taken for finished: %s", error)
        return False


def _is_scored_alike(run: Path, config: Mapping[str, Any]) -> bool:
    """Whether a run's results are those of a configuration that trains the same."""
    theirs = _config_in(run)
    same = theirs.get("hardware") == config["hardware"]
    same &= theirs["trainer"].get("max_time") == config["trainer"].get("max_time")
    return bool(same) and not (
        holds_any_images(config["data"]) and theirs["data"]["data_dir"] != config["data"]["data_dir"]
    )
