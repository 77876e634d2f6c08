"""The way into every command: compose with Hydra, answer mistakes in one line, exit non-zero. Imports no torch."""

import errno
import functools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from shiftaddaug.commands.arguments import refuse_arguments
from shiftaddaug.commands.folders import claim_folders, leave_no_jobs, leave_nothing, refuse_within_runs
from shiftaddaug.commands.output import answering_threads, enduring_output
from shiftaddaug.commands.sweeping import MULTIRUN, Jobs, going_on
from shiftaddaug.commands.usage import asks_for_help, help_text
from shiftaddaug.errors import Failed, TrainingDiverged, TrialPruned, UserError
from shiftaddaug.report.log_file import note, noting_failures
from shiftaddaug.report.results import PRUNED, write_json
from shiftaddaug.runs.compose import (
    as_text,
    config_dir,
    default_root,
    expand_home,
    plugin_config_dirs,
    with_plugin_configs,
)
from shiftaddaug.runs.explain import describe
from shiftaddaug.runs.importing import without_collector
from shiftaddaug.runs.processes import follow
from shiftaddaug.runs.searching import is_search

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk, or what one may have of it, or write into one file."""
MISTAKES = (UserError, HydraException, OmegaConfBaseException, YAMLError)
BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError)
"""What code raises that is wrong itself: worth a traceback. Arguments are refused by other errors."""

# configs/hydra/launcher completes what launchers register under the same names. Said here, since a job brings this
# module into the process that a launcher starts for it, before its configuration is composed
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/(joblib|submitit_\w+)' is validated against ConfigStore schema")

TRACEBACKS = "SHIFTADDAUG_TRACEBACKS"
"""Variable of the environment: what the user has given as HYDRA_FULL_ERROR, for processes that a command starts."""
OFF = ("", "0", "false", "no", "off")

LONGEST = 4000
"""Characters of a message, which may hold a command: a stored value may be a book."""


def run_command(config_name: str, function: Callable[[DictConfig], Any]) -> None:
    """Run `function` on the configuration that the command line composes.

    Exits with status 2 and one line on stderr for a mistake of the user's, 130 on Ctrl-C; other errors keep
    their traceback. HYDRA_FULL_ERROR=1 asks for the traceback of mistakes as well.
    """
    follow()
    with enduring_output(), answering_threads(), _errors_let_through():
        _run(config_name, function)


@contextmanager
def _errors_let_through() -> Iterator[None]:
    """Have Hydra let errors through, which are answered here, and keep what the user has asked for."""
    before = {name: os.environ.get(name) for name in ("HYDRA_FULL_ERROR", TRACEBACKS)}
    os.environ.setdefault(TRACEBACKS, os.environ.get("HYDRA_FULL_ERROR", ""))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _show_traceback() -> None:
    """Print the traceback of the mistake that is being answered, if the user has asked for it."""
    if os.environ.get(TRACEBACKS, "").strip().lower() not in OFF:
        traceback.print_exc()


def _run(config_name: str, function: Callable[[DictConfig], Any]) -> None:
    os.environ.setdefault("SHIFTADDAUG_ROOT", str(default_root()))
    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)
    jobs, made = Jobs(), list[Path]()
    answering = _answering_mistakes(config_name, function, jobs, made)
    command = main(answering)
    multirun = bool(MULTIRUN & set(sys.argv[1:]))
    sys.argv[1:] = [as_text(expand_home(argument), multirun) for argument in sys.argv[1:]]
    try:
        if asks_for_help(sys.argv[1:]):
            folders = [config_dir(), *plugin_config_dirs(sys.argv[1:])]
            print(help_text(folders, config_name, with_plugin_configs(sys.argv[1:])))
            return
        refuse_arguments(sys.argv[1:], config_name)
        refuse_within_runs(sys.argv[1:], config_name)
        claim_folders(sys.argv[1:], config_name, made)
        sys.argv[1:] = with_plugin_configs(sys.argv[1:])
        with without_collector():
            command()
        leave_no_jobs(jobs.refused, jobs.started, made)
        _answer_multirun(jobs, None, answering)
    except Exception as error:
        if isinstance(error, MISTAKES) and not _is_a_bug(error):
            _show_traceback()
            leave_no_jobs(jobs.refused, jobs.started, made)
            leave_nothing(None, made)
            if jobs.failed:
                _answer_multirun(jobs, error, answering)
            fail(describe(error, config_name, sys.argv[1:]))
        if isinstance(error, OSError):
            _answer_full_disk(error)
        _answer_multirun(jobs, error, answering)
        raise
    except SystemExit as end:
        if isinstance(end.__cause__, UserError):  # of a callback of Hydra's, which takes no other exception seriously
            fail(str(end.__cause__))
        raise
    except KeyboardInterrupt as interrupt:
        again = going_on(config_name, sys.argv[1:])
        print("; ".join(["interrupted", *([again] if again else map(str, interrupt.args))]), file=sys.stderr)
        sys.exit(130)


def _answer_multirun(jobs: Jobs, error: Exception | None, job: Callable[..., Any]) -> None:
    message = jobs.mistake(sys.argv[1:], error, job.__code__)
    if message is not None:
        _leave(message)


def _answering_mistakes(
    config_name: str, function: Callable[[DictConfig], Any], jobs: Jobs, made: list[Path]
) -> Callable[[DictConfig], Any]:
    """Answer a job's mistakes here: Hydra would print the overrides before letting them through.

    A job of a multirun that cannot be run, or whose loss diverged, does not end the others: it returns `Failed`, and is
    noted in `jobs`. In a search its trial is a failed one.
    """

    @functools.wraps(function)
    def answering(cfg: DictConfig) -> Any:
        jobs.started += 1
        with noting_failures():
            return answered(cfg)

    def answered(cfg: DictConfig) -> Any:
        try:
            return function(cfg)
        except MISTAKES as error:
            if _is_a_bug(error):
                raise
            if isinstance(error, InstantiationException) and isinstance(error.__cause__, MISTAKES):
                error = error.__cause__
            _show_traceback()
            message, folder = describe(error, config_name, sys.argv[1:]), Path(HydraConfig.get().runtime.output_dir)
            if HydraConfig.get().mode != RunMode.MULTIRUN:
                if "LOCAL_RANK" not in os.environ:  # the folder of another process
                    leave_nothing(folder, made)
                fail(message)
            _say(message)
            note(f"error: {message}", logging.ERROR)
            jobs.refused.append(folder)
            if not is_search():  # which says itself what its trials failed of
                jobs.failed.append(message)
            return Failed(message, by_mistake=not isinstance(error, TrainingDiverged))
        except TrialPruned as pruned:
            print(pruned)
            write_json(Path(HydraConfig.get().runtime.output_dir) / PRUNED, {"reason": str(pruned)})
            return str(pruned)
        except OSError as error:
            folder = OmegaConf.select(cfg, "paths.output_dir")
            _answer_full_disk(error, f"a file in {folder}")
            _answer_lost_folder(error, folder)
            raise

    return answering


def _is_a_bug(error: Exception) -> bool:
    """Whether what a configuration names broke while it was built, and did not refuse its arguments."""
    return isinstance(error, InstantiationException) and isinstance(error.__cause__, BUGS)


def _answer_full_disk(error: OSError, where: str = "a file") -> None:
    if error.errno in FULL:
        fail(f"{error.filename or where}: could not be written ({error.strerror})")


def _answer_lost_folder(error: OSError, folder: object) -> None:
    """Answer in one line what is about a file of the run: its folder is gone, say, or became read-only."""
    if error.filename is not None and Path(os.fsdecode(error.filename)).absolute().is_relative_to(str(folder)):
        fail(f"{os.fsdecode(error.filename)}: {error.strerror}; was the folder of the run removed, or made read-only?")


def typed_overrides() -> list[str]:
    """Return what the user typed; nothing outside of a command."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def fail(message: str) -> NoReturn:
    """Print the message in one line, write it into the log file if there is one, and exit with status 2."""
    note(f"error: {message}", logging.ERROR)
    _leave(message)


def _leave(message: str) -> NoReturn:
    _say(message)
    sys.exit(2)


def _say(message: str) -> None:
    print(f"error: {message if len(message) <= LONGEST else message[:LONGEST] + ' ...'}", file=sys.stderr)
