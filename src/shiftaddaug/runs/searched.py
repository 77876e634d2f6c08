"""A run of a searched net: what its file holds becomes a part of the run's configuration. Imports no torch."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shiftaddaug import operators
from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import UserError
from shiftaddaug.nets.searched import OF_RUNS, SearchedNet, read_searched
from shiftaddaug.nets.sizes import as_size, shown_size
from shiftaddaug.operators.stated import states_layers
from shiftaddaug.runs.checkpoints import read_config, resumable
from shiftaddaug.settings import PathName, check

log = logging.getLogger(__name__)

SEARCHED = "searched"
"""Value of `aug.channels` and of `aug.extra_blocks` that stands for what the net's file holds."""


def with_searched_net(config: dict[str, Any], catalogue: Catalogue = PACKAGE_ONLY) -> dict[str, Any]:
    """Return a run's configuration with what the file of `net.path` holds in it: a table, and operators of its layers.

    So a run's configuration, and each of its checkpoints, says what is trained, whatever becomes of the file. A run
    that is resumed when the file is gone takes them from its checkpoint. Keys that the configuration gives by itself
    (`+net.classifier_norm=true`, `+op.operators.add.eta=0.4`) stay.

    Args:
        config: as plain containers; it is left as it is.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: as `read_searched`; no file is given; operators of layers without a searched net.
    """
    net, op, aug = config["net"], config["op"], config["aug"]
    if "path" not in net:
        if states_layers(op) and not op["layers"]:
            raise UserError(
                f"op={op['name']}: holds the operators of a searched net; options: net=searched, another op"
            )
        if SEARCHED in aug.values():
            raise UserError(f"aug={aug['name']}: is what surrounds a searched net; options: net=searched, another aug")
        return config
    if "stem" in net:
        return config
    if net["path"] is None:
        raise UserError("net.path=null: must be the file that a search has written; give net.path=FILE")
    check("net.path", net["path"], PathName)
    if config.get("ckpt_path") is not None and not Path(net["path"]).expanduser().exists():
        return _surrounded(_from_checkpoint(config))
    return _surrounded(_filled(config, read_searched(net["path"], catalogue), catalogue))


def _surrounded(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose `aug` has what surrounds the searched net, where it says `searched`."""
    none: dict[str, Any] = {"channels": {}, "extra_blocks": {}}
    found = none | config["net"]["surroundings"]
    given = {key: found[key] for key in none if config["aug"].get(key) == SEARCHED}
    return config | {"aug": config["aug"] | given}


def _filled(config: dict[str, Any], searched: SearchedNet, catalogue: Catalogue) -> dict[str, Any]:
    """Return a configuration with a searched net in it."""
    net, op = config["net"], config["op"]
    table = {key: value for key, value in searched.table.items() if key not in OF_RUNS}
    more = {"searched_at": searched.image_size, "surroundings": dict(searched.surroundings)}
    filled = config | {"net": table | net | more}
    if not states_layers(op):
        return filled
    check("op.operators", op["operators"], dict[str, dict[str, Any]])
    made = {
        label: _all_keys(raw, catalogue) | op["operators"].get(label, {})
        for label, raw in searched.operators["operators"].items()
    }
    for label in op["operators"]:
        if label not in made:
            raise UserError(
                f"op.operators.{label}: no such operator in net.path={net['path']}; options: {', '.join(made)}"
            )
    return filled | {"op": op | {"operators": made, "layers": dict(searched.operators["layers"])}}


def _all_keys(raw: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """Return an operator as its yaml would state it: every key, the constants of R among them."""
    settings = operators.settings_from(raw, catalogue)
    return settings.config() | ({} if settings.remap is None else {"remap": settings.remap.config()})


def _from_checkpoint(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the net of the checkpoint that it resumes.

    Raises:
        UserError: it resumes none of this net.
    """
    path = config["net"]["path"]
    for checkpoint in resumable(str(config["ckpt_path"]), Path(config["paths"]["log_dir"])):
        theirs = read_config(checkpoint)
        if theirs["net"].get("path") == path:
            own = {key: theirs["net"][key] for key in theirs["net"] if key not in OF_RUNS}
            log.warning("net.path=%s: no such file; the net is that of ckpt_path=%s", path, checkpoint)
            both = states_layers(config["op"]) and states_layers(theirs["op"])
            return config | {"net": own | config["net"], "op": theirs["op"] if both else config["op"]}
    raise UserError(f"net.path={path}: no such file, and ckpt_path={config['ckpt_path']} holds no run of that net")


def warn_of_searched_net(config: Mapping[str, Any]) -> None:
    """Warn where a searched net is not run as it was searched: of other operators, and of images of another size."""
    net, op, size = config["net"], config["op"], config["data"]["image_size"]
    if "path" not in net:
        return
    aug = config["aug"]
    if aug["extra_blocks"] == {} and not aug.get("channels"):  # else it is 0, or says something
        log.warning("no effect, because net.path=%s holds no surroundings: aug=%s", net["path"], aug["name"])
    if not states_layers(op):
        log.warning("op=%s: the operators that net.path=%s was searched with are not used", op["name"], net["path"])
    if as_size(net["searched_at"]) != as_size(size):
        log.warning(
            "data.image_size=%s: net.path=%s was searched at %s; the costs that it was held to are of that size",
            *(shown_size(size), net["path"], shown_size(net["searched_at"])),
        )
