"""The study of a search: its name, its database, and what an earlier search left in it."""

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from shiftaddaug.errors import UserError
from shiftaddaug.settings import PositiveInt, Share, check

if TYPE_CHECKING:
    from optuna import Study

log = logging.getLogger(__name__)

RATE = "hydra.sweeper.max_failure_rate"

SWEEPER = {
    "direction": Literal["minimize", "maximize"],  # of the one score that a run has
    "n_trials": PositiveInt,
    "n_jobs": PositiveInt,
    "max_failure_rate": Share,
}
"""Ranges of `hydra.sweeper`, which the sweeper answers with a traceback, or not at all."""

SQLITE = "sqlite:///"
"""What the address of a database in a file begins with."""
SCORED_BY = ("trainer.max_time",)
"""Keys that a score depends on besides what identifies a run."""
SEARCHED_BY = ("params", "search_space", "direction")
"""Keys of `hydra.sweeper` that say what is searched."""


class PrepareStudy(Callback):
    """Make the study of a search with Optuna ready before the sweeper opens it; other multiruns are left alone.

    What is searched for is the headline of the task, in its direction, unless somebody said another one. A trial that
    fails is a failed one, and does not end the search. Searches that are begun at once make their study one after the
    other. Trials that a killed search left as running are failed, unless another search is at work on the study.

    Args:
        named_by_content: append a hash of all that scores depend on to `hydra.sweeper.study_name`. A study goes on
            where an earlier call of the same search left off; trials of another training, or of another space, would
            be compared with scores that are none of theirs, and a sampler could not even read them.
    """

    def __init__(self, named_by_content: bool = False) -> None:
        self.named_by_content = named_by_content
        self._at_work: IO[str] | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Set the direction, name the study and make it (Hydra's hook).

        Raises:
            SystemExit: whose cause is a UserError: a setting outside its range, or a database that cannot be opened.
        """
        with _ending_the_command():
            self._make_ready(config)

    def _make_ready(self, config: DictConfig) -> None:
        sweeper = config.hydra.sweeper
        if not sweeper["_target_"].endswith(".OptunaSweeper"):
            return
        with read_write(sweeper):
            if isinstance(sweeper.direction, Enum):  # the plugin's own: what somebody writes is a word
                sweeper.direction = f"{OmegaConf.select(config, 'task.better') or 'max'}imize"
            if not any(typed.startswith(f"{RATE}=") for typed in config.hydra.overrides.hydra):
                sweeper.max_failure_rate = 1.0
            if self.named_by_content:
                sweeper.study_name += f" {search_hash(config)}"
            if OmegaConf.is_list(sweeper.direction) and len(sweeper.direction) == 1:
                sweeper.direction = sweeper.direction[0]
        plain: Any = OmegaConf.to_container(sweeper, resolve=True)
        for key in SWEEPER.keys() & plain.keys():
            check(f"hydra.sweeper.{key}", plain[key], SWEEPER[key])
        if plain.get("storage") is not None and plain.get("study_name") is not None:
            self._prepare(str(plain["storage"]), str(plain["study_name"]), plain["direction"])

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Leave the study to others (Hydra's hook); a search that is killed does so too."""
        if self._at_work is not None:
            self._at_work.close()

    def _prepare(self, storage: str, name: str, direction: str) -> None:
        import optuna

        database = Path(storage.removeprefix(SQLITE)) if storage.startswith(SQLITE) else None
        try:
            with _taking_turns(database):
                study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
                if database is not None and self._is_alone(database, name):
                    _fail_what_was_left(study)
        except Exception as error:  # whatever its database driver says
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise UserError(f"hydra.sweeper.storage={storage}: cannot be opened ({reason})") from error

    def _is_alone(self, database: Path, name: str) -> bool:
        """Whether no other search is at work on the study, which this one is from now on, until the process ends."""
        digits = hashlib.sha256(name.encode()).hexdigest()[:8]
        self._at_work = database.with_name(f".{database.name}.{digits}.lock").open("w")
        try:
            fcntl.flock(self._at_work, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError:  # another one is, or the file system knows no locks
            alone = False
        with suppress(OSError):
            fcntl.flock(self._at_work, fcntl.LOCK_SH)
        return alone


@contextmanager
def _ending_the_command() -> Iterator[None]:
    """Let a mistake end the command: Hydra makes a warning of whatever else its callbacks raise, and goes on."""
    try:
        yield
    except UserError as error:
        raise SystemExit(2) from error


@contextmanager
def _taking_turns(database: Path | None) -> Iterator[None]:
    """Hold a lock beside a database file: two processes that make its tables at once are in each other's way."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("w") as lock:
        with suppress(OSError):  # some network file systems know no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fail_what_was_left(study: "Study") -> None:
    """Fail the trials that nobody trains any more."""
    from optuna.trial import TrialState

    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in left:
        study.tell(trial.number, state=TrialState.FAIL)
    if left:
        log.warning("%d trials of a search that was stopped count as failed", len(left))


def search_hash(config: DictConfig) -> str:
    """Hash of what is trained, how it is scored and what is searched: 8 hexadecimal digits of a SHA-256.

    Args:
        config: of a multirun, Hydra's own node included. What is swept over on the command line is not in it, but
            among its overrides.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from shiftaddaug.data.checks import holds_any_images
    from shiftaddaug.hybrid.remap_file import read_remap
    from shiftaddaug.runs.identity import identity

    plain: Any = OmegaConf.to_container(config, resolve=False)  # interpolations lead to what is hashed too
    parse = OverridesParser.create().parse_override
    swept = [override for override in plain["hydra"]["overrides"]["task"] if parse(override).is_sweep_override()]
    images = plain["data"]["data_dir"] if holds_any_images(plain["data"]) else None
    remap_file = plain["sharing"].get("remap_file")
    remap = None if remap_file is None else read_remap(remap_file, plain["op"]["name"])
    search = {key: plain["hydra"]["sweeper"].get(key) for key in SEARCHED_BY}
    content = [identity(plain, SCORED_BY), images, remap, search, sorted(swept)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
