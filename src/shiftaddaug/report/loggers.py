"""Loggers that need a decision before they are made."""

import netrc
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger


def wandb_logger(offline: bool | None = None, **arguments: Any) -> "WandbLogger":
    """A `WandbLogger`; offline unless a key is set or `offline` says otherwise.

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
    return WandbLogger(offline=offline, **arguments)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(str(server)) is not None
    except (OSError, netrc.NetrcParseError):
        return False
