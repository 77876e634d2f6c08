"""A logger whose failures cost nothing but what it would have shown."""

import logging
from collections.abc import Callable
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyExperiment

from shiftaddaug.errors import reason_of

log = logging.getLogger(__name__)


class GuardedLogger(Logger):
    """Stand in for a logger: the first time that it fails is warned of, and the run goes on.

    It is asked again all the same: a server may come back. Whoever asks for its class is told the logger's, and what is
    no method of all loggers is the logger's own, without a guard: callbacks may look for one kind, and use it.

    Args:
        key: in the configuration, such as logger.wandb.
        guarded: the logger.
    """

    def __init__(self, key: str, guarded: Logger) -> None:
        super().__init__()
        self.key, self.guarded = key, guarded
        self._has_failed = False

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        """The logger's class, for `isinstance`."""
        return type(self.guarded)

    def __getattr__(self, name: str) -> Any:
        if name == "guarded":  # of one that is being copied
            raise AttributeError(name)
        if name == "experiment" and hasattr(type(self.guarded), name):  # what it writes with, if it has that
            return self.attempt(name, lambda logger: logger.experiment, DummyExperiment())  # type: ignore[attr-defined]
        return getattr(self.guarded, name)

    def attempt(self, what: str, use: Callable[[Logger], Any], otherwise: Any = None) -> Any:
        """Return what a use of the logger returns, or `otherwise` if it fails.

        Args:
            what: the use, for the warning.
            use: a function of the logger.
            otherwise: what stands for its result.
        """
        try:
            return use(self.guarded)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a server's owner thought of
            if not self._has_failed:
                log.warning("%s: failed in %s (%s); the run goes on without it", self.key, what, reason_of(error))
            self._has_failed = True
            return otherwise

    @property
    def name(self) -> str | None:
        name: str | None = self.attempt("name", lambda logger: logger.name)
        return name

    @property
    def version(self) -> int | str | None:
        version: int | str | None = self.attempt("version", lambda logger: logger.version)
        return version

    @property
    def root_dir(self) -> str | None:
        folder: str | None = self.attempt("root_dir", lambda logger: logger.root_dir)
        return folder

    @property
    def log_dir(self) -> str | None:
        folder: str | None = self.attempt("log_dir", lambda logger: logger.log_dir)
        return folder

    @property
    def save_dir(self) -> str | None:
        folder: str | None = self.attempt("save_dir", lambda logger: logger.save_dir)
        return folder

    @property
    def group_separator(self) -> str:
        return str(self.attempt("group_separator", lambda logger: logger.group_separator, "/"))

    def log_metrics(self, *arguments: Any, **named: Any) -> None:
        self.attempt("log_metrics", lambda logger: logger.log_metrics(*arguments, **named))

    def log_hyperparams(self, *arguments: Any, **named: Any) -> None:
        self.attempt("log_hyperparams", lambda logger: logger.log_hyperparams(*arguments, **named))

    def log_graph(self, *arguments: Any, **named: Any) -> None:
        self.attempt("log_graph", lambda logger: logger.log_graph(*arguments, **named))

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.attempt("after_save_checkpoint", lambda logger: logger.after_save_checkpoint(checkpoint_callback))

    def save(self) -> None:
        self.attempt("save", lambda logger: logger.save())

    def finalize(self, status: str) -> None:
        self.attempt("finalize", lambda logger: logger.finalize(status))
