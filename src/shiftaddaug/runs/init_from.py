"""`net.init_from`: begin a run with what another one learned. Imports no torch until something is read."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.catalogue import Catalogue
from shiftaddaug.errors import UserError
from shiftaddaug.nets.sizes import as_size
from shiftaddaug.runs.absolute import TIMM

if TYPE_CHECKING:
    from shiftaddaug.nets.net import Net
    from shiftaddaug.nets.supernet import Supernet

log = logging.getLogger(__name__)

CHECKPOINTS = ("best.ckpt", "last.ckpt")
"""Which of a run's checkpoints stands for it, the first that is there."""


def check_source(init_from: str) -> None:
    """Refuse what `net.init_from` names if nothing can be read from there; names of timm's models are looked up later.

    Raises:
        UserError: as `source_of`; a file of timm's that is not there.
    """
    if not init_from.startswith(TIMM):
        source_of(init_from)
        return
    named = init_from.removeprefix(TIMM)
    if ("/" in named or named == "") and not Path(named).expanduser().is_file():
        raise UserError(f"net.init_from={init_from}: no such file; options: {TIMM}NAME, {TIMM}FILE of its state dict")


def source_of(init_from: str) -> Path:
    """Return the checkpoint, or the folder of the target, that `net.init_from` means.

    Args:
        init_from: a run's folder, a .ckpt file, or a target's folder.

    Raises:
        UserError: it is none of them.
    """
    path = Path(init_from).expanduser()
    options = "options: a run's folder, a .ckpt file, a target's folder, or timm:NAME"
    if not path.exists():
        raise UserError(f"net.init_from={init_from}: no such file; {options}")
    if path.is_file():
        if path.suffix != ".ckpt":
            raise UserError(f"net.init_from={init_from}: is no .ckpt file; {options}")
        return path
    if (path / "architecture.json").exists():
        return path
    kept = [path / "checkpoints" / name for name in CHECKPOINTS]
    held = [checkpoint for checkpoint in kept if checkpoint.exists()]
    if not held and (path / "target" / "architecture.json").exists():
        return path / "target"
    if not held:
        raise UserError(f"net.init_from={init_from}: holds neither checkpoints nor a target; {options}")
    return held[0]


def begin_from(net: "Supernet", config: Mapping[str, Any], catalogue: Catalogue, resumed: bool = False) -> None:
    """Load what `net.init_from` names, and freeze the encoder if `net.freeze_encoder` says so.

    Args:
        net: written to.
        config: of the run.
        catalogue: of the package and the plugins in use.
        resumed: whether weights are read from the run's own checkpoint instead.

    Raises:
        UserError: a damaged source, or one of another network.
    """
    from shiftaddaug.nets.init_from import freeze_encoder, init_from

    named, freeze = config["net"].get("init_from"), config["net"].get("freeze_encoder", False)
    whole = True
    if named is not None and not resumed:
        source = _read(named, config, catalogue)
        try:
            loaded = init_from(net, source)
        except UserError as error:
            raise UserError(f"net.init_from={named}: {error}; {_remedy(net, source.plan.name)}") from None
        whole = loaded.whole
        log.info("net.init_from=%s: %s", named, loaded.summary())
    if freeze:
        freeze_encoder(net)
        if not whole:
            log.warning("net.freeze_encoder=true: what surrounds the encoder was not loaded, and stays as it was drawn")


def _read(named: str, config: Mapping[str, Any], catalogue: Catalogue) -> "Net":
    """Return the network that `net.init_from` names.

    Raises:
        UserError: it cannot be read.
    """
    from shiftaddaug.runs.subnetworks import read_network

    if named.startswith(TIMM):
        from shiftaddaug.interop.timm_weights import timm_network

        try:
            return timm_network(
                named.removeprefix(TIMM), config["net"], as_size(config["data"]["image_size"]), catalogue
            )
        except UserError as error:
            raise UserError(f"net.init_from={named}: {error}") from None
    path = source_of(named)
    try:
        return read_network(path, catalogue)
    except UserError as error:
        raise UserError(f"net.init_from={named}: {str(error).removeprefix(f'ckpt_path={path}: ')}") from None


def _remedy(net: "Supernet", other: str) -> str:
    """Return what the user may change."""
    if other != net.plan.name:
        return f"options: net={other}, or a run of net={net.plan.name}"
    return "options: the overrides of net, op and sharing that it was trained with"
