"""Loggers that need a decision before they are made, and what is handed to those that take pictures."""

import netrc
import os
import shlex
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shiftaddaug.report.results import shortest_path

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, WandbLogger
    from matplotlib.figure import Figure


def log_figure(logger: "Logger", name: str, figure: "Figure", step: int | None = None) -> None:
    """Hand a figure to a logger with a method for pictures, as those of W&B and TensorBoard have; else do nothing.

    Args:
        logger: any of Lightning's.
        name: of the figure, there.
        figure: it stays as it is.
        step: of training.
    """
    if hasattr(logger, "log_image"):
        from PIL import Image

        png = BytesIO()
        figure.savefig(png, format="png", dpi="figure")
        logger.log_image(name, [Image.open(png)], step=step)
        return
    experiment: Any = getattr(logger, "experiment", None)
    if hasattr(experiment, "add_figure"):
        experiment.add_figure(name, figure, step)
        experiment.flush()


def wandb_logger(offline: bool | None = None, **arguments: Any) -> "WandbLogger":
    """A `WandbLogger` that prints nothing; offline unless a key is set or `offline` says otherwise.

    `whereabouts` says where its run is. WANDB_SILENT=false brings back what W&B prints.

    Args:
        offline: True or False decide; None leaves it to W&B's own WANDB_MODE and, where that is not set, means offline
            when there is no key for its server (WANDB_API_KEY, an identity token, or netrc).
        arguments: of `WandbLogger`.
    """
    from lightning.pytorch.loggers import WandbLogger

    if offline is None:
        mode = os.environ.get("WANDB_MODE")
        offline = mode in ("offline", "dryrun") if mode else not _has_key()
    if offline:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would reach for the network otherwise
    os.environ.setdefault("WANDB_SILENT", "true")
    logger = WandbLogger(offline=offline, **arguments)
    if "anonymous" not in arguments:  # which Lightning hands over all the same, and W&B warns of
        getattr(logger, "_wandb_init", {}).pop("anonymous", None)
    return logger


def whereabouts(logger: "Logger") -> str | None:
    """Return where the run is that a logger of W&B writes, and how it is uploaded if it is offline; None of others."""
    wandb: Any = sys.modules.get("wandb")
    run = None if wandb is None else getattr(logger, "experiment", None)
    if run is None or not isinstance(run, wandb.Run):
        return None
    if not run.offline:
        return f"W&B run {run.url}"
    folder = shortest_path(Path(run.dir).parent)
    return f"W&B run {run.id}, offline; upload it: wandb sync {shlex.quote(folder)}"


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(str(server)) is not None
    except (OSError, netrc.NetrcParseError):
        return False
