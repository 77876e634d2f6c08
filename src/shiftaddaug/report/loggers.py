"""Loggers that need a decision before they are made, and what is handed to those that take pictures."""

import importlib.util
import logging
import netrc
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shiftaddaug.errors import UserError
from shiftaddaug.report.results import shortest_path

if TYPE_CHECKING:
    from lightning.pytorch.loggers import CometLogger, Logger, MLFlowLogger, WandbLogger
    from matplotlib.figure import Figure

PACKAGES = {
    "mlflow_logger": ("mlflow", "pip install 'shiftaddaug[mlflow]'"),
    "comet_logger": ("comet_ml", "pip install 'shiftaddaug[comet]'"),
    "aim_logger": ("aim", "pip install 'shiftaddaug[aim]'"),
    "MLFlowLogger": ("mlflow", "pip install 'shiftaddaug[mlflow]'"),
    "CometLogger": ("comet_ml", "pip install 'shiftaddaug[comet]'"),
    "AimLogger": ("aim", "pip install 'shiftaddaug[aim]'"),
}
"""Packages that not everybody has, by the last name of the `_target_` that needs one, and what installs each."""


def check_packages(loggers: Mapping[str, Any]) -> None:
    """Refuse loggers whose package is not installed. Imports none of them.

    Args:
        loggers: the `logger` group, as plain containers.

    Raises:
        UserError: naming the package, and what installs it.
    """
    for name, node in loggers.items():
        target = str(node.get("_target_")) if isinstance(node, Mapping) else ""
        package, installs = PACKAGES.get(target.rpartition(".")[2], (None, ""))
        if package is not None and importlib.util.find_spec(package) is None:
            raise UserError(f"logger={name}: the package {package} is not installed; options: {installs}")


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


def wandb_logger(
    offline: bool | None = None, group: str | None = None, tags: Sequence[str] = (), **arguments: Any
) -> "WandbLogger":
    """A `WandbLogger` that prints nothing; offline unless a key is set or `offline` says otherwise.

    `whereabouts` says where its run is. WANDB_SILENT=false brings back what W&B prints.

    Args:
        group: under which W&B shows runs together; None is `group_of_command`.
        tags: words to find the run by.
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
    told = {"group": group or group_of_command(), "tags": list(tags)}
    arguments |= {key: value for key, value in told.items() if value}
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


def group_of_command() -> str | None:
    """Return what the run belongs to: the study of its sweep, or its experiment; None outside of a command."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    choices = hydra.runtime.choices
    study = hydra.sweeper.get("study_name") if choices.get("sweep") else None
    found = study or choices.get("sweep") or choices.get("experiment")
    return None if found is None else str(found)


def mlflow_logger(
    save_dir: str, tracking_uri: str | None = None, tags: Sequence[str] = (), **arguments: Any
) -> "MLFlowLogger":
    """An `MLFlowLogger`; it writes into a file unless it is told of a server.

    Args:
        save_dir: folder of that file, mlflow.db.
        tracking_uri: of the server; None is MLFLOW_TRACKING_URI, or the file.
        tags: words to find the run by: tags of MLflow whose value is "true".
        arguments: of `MLFlowLogger`.
    """
    from lightning.pytorch.loggers import MLFlowLogger

    tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if tracking_uri is None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would reach for the network otherwise
        folder = Path(save_dir).absolute()
        tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
        arguments.setdefault("artifact_location", (folder / "mlflow").as_uri())
    return MLFlowLogger(tracking_uri=tracking_uri, tags=dict.fromkeys(tags, "true"), **arguments)


def comet_logger(
    save_dir: str, offline: bool | None = None, tags: Sequence[str] = (), **arguments: Any
) -> "CometLogger":
    """A `CometLogger`; offline unless a key is set or `offline` says otherwise.

    Args:
        save_dir: folder for the archive that an offline run leaves.
        offline: True or False decide; None means offline when there is no key (COMET_API_KEY, or ~/.comet.config).
        tags: words to find the run by.
        arguments: of `CometLogger`. The summary that Comet prints at the end, of every key, is off by default.
    """
    from lightning.pytorch.loggers import CometLogger

    if offline is None:
        kept = Path(os.environ.get("COMET_CONFIG") or "~/.comet.config").expanduser()
        offline = not os.environ.get("COMET_API_KEY") and not kept.exists()
    # NOTE: Lightning disables an experiment that is told online=False, and nothing would be written
    if offline:
        os.environ["COMET_START_ONLINE"] = "0"
        os.environ.setdefault("COMET_ERROR_TRACKING_ENABLE", "false")  # it would reach for the network otherwise
    online = None if offline else True
    arguments.setdefault("display_summary_level", 0)
    return CometLogger(online=online, offline_directory=save_dir, tags=list(tags), **arguments)


def aim_logger(tags: Sequence[str] = (), **arguments: Any) -> Any:
    """An `AimLogger`, aim's own.

    Args:
        tags: words to find the run by.
        arguments: of `AimLogger`.
    """
    from aim.pytorch_lightning import AimLogger

    # it tells of its threads, and that it opens a run again, which it closes when the training has ended
    logging.getLogger("aim").setLevel(logging.ERROR)
    subsets = {split: f"{split}/" for split in ("train", "val", "test")}
    logger = AimLogger(context_prefixes={"subset": subsets}, **arguments)
    for tag in tags:
        logger.experiment.add_tag(tag)
    return logger


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(str(server)) is not None
    except (OSError, netrc.NetrcParseError):
        return False
