"""Loggers that need a decision before they are made."""

import netrc
import os
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger


def wandb_logger(offline: bool | None = None, **arguments: Any) -> "WandbLogger":
    """A `WandbLogger`; offline unless a key is set or `offline` says otherwise.

    Args:
        offline: True or False decide; None means offline when there is no key (WANDB_API_KEY or ~/.netrc).
        arguments: of `WandbLogger`.
    """
    from lightning.pytorch.loggers import WandbLogger

    if offline is None:
        offline = os.environ.get("WANDB_MODE") == "offline" or not _has_key()
    if offline:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would reach for the network otherwise
    if OmegaConf.is_config(arguments.get("config")):  # W&B knows plain containers only
        arguments["config"] = OmegaConf.to_container(arguments["config"], resolve=True)
    return WandbLogger(offline=offline, **arguments)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
