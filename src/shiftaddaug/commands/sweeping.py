"""What is said of a multirun as a whole; each of its jobs is answered for itself. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from shiftaddaug.errors import reason_of

MULTIRUN = {"-m", "--multirun"}

FLAGS = "Only one of --"
"""What Hydra says of flags that exclude each other."""

UNKNOWN = "Unknown plugin class"
"""What Hydra says of a launcher that is not installed."""
INSTALLS = "pip install 'shiftaddaug[joblib]', or 'shiftaddaug[submitit]'"

LAUNCHERS = ("joblib", "submitit")
"""Packages whose errors say what has become of the processes that jobs ran in."""

NOT_ONLY_HERE = ("sweep=", "hydra/sweeper=", "hydra/launcher=")
"""Choices with which a multirun may well start no job of this process: all trials are done, or other processes run."""


@dataclass
class Jobs:
    """What has become of a command's jobs."""

    started: int = 0
    failed: list[str] = field(default_factory=list)
    """Messages of those that could not be run, but for trials of a search."""
    refused: list[Path] = field(default_factory=list)
    """Folders of those that could not be run."""

    def mistake(self, arguments: Sequence[str], error: Exception | None, job: CodeType) -> str | None:
        """Return what to say at the end; None if there is nothing, or it is not about the multirun.

        Args:
            arguments: of the command.
            error: that ended the command.
            job: the function that runs a job; errors of jobs have passed through it.
        """
        if error is None and self.failed:
            return f"{len(self.failed)} of the jobs failed: {self.failed[0]}"
        flags = {argument for argument in arguments if argument.startswith("-")}
        if isinstance(error, ValueError) and str(error).startswith(FLAGS):
            return f"{' '.join(sorted(flags))}: {reason_of(error)}"
        if not flags or not flags <= MULTIRUN:
            return None
        if error is not None and str(error).startswith(UNKNOWN):
            return f"hydra/launcher: {str(error).partition(':')[2].strip()} is not installed; options: {INSTALLS}"
        if error is not None and type(error).__module__.partition(".")[0] in LAUNCHERS:
            return f"hydra/launcher: {reason_of(error)}; {going_on('train', arguments)}"
        swept = " ".join(filter(_sweeps, arguments)) or "hydra.sweeper"
        if error is not None and not _passed_through(error, job):
            return f"{swept}: cannot be swept over ({reason_of(error)})"
        elsewhere = any(argument.startswith(NOT_ONLY_HERE) for argument in arguments)
        return None if self.started or elsewhere else f"{swept}: leaves nothing to run"


def going_on(config_name: str, arguments: Sequence[str]) -> str | None:
    """Return how a command of several runs goes on that was interrupted; None for a single run."""
    if config_name == "ablate" or any(argument.startswith("sweep=") for argument in arguments):
        return "run it again to go on"
    if config_name == "train" and MULTIRUN & set(arguments):
        resumes = "resume=true" in arguments
        return "run it again to go on" if resumes else "run it again with resume=true to go on"
    return None


def _sweeps(argument: str) -> bool:
    try:
        return OverridesParser.create().parse_override(argument).is_sweep_override()
    except HydraException:
        return False


def _passed_through(error: Exception, job: CodeType) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not job:
        trace = trace.tb_next
    return trace is not None
