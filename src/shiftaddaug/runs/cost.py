"""What `src/cost.py` reports: the costs of a network under its operator and under all others. Imports no torch."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from shiftaddaug import operators, tasks
from shiftaddaug.catalogue import Catalogue
from shiftaddaug.data.checks import settings_of
from shiftaddaug.errors import DAMAGE, UserError, reason_of
from shiftaddaug.files import refuse_unwritable
from shiftaddaug.hardware.settings import Hardware, hardware_from
from shiftaddaug.nets import archs
from shiftaddaug.nets.assignment import MULT, Assignment, assigned_settings, assignment_from, uniform
from shiftaddaug.nets.format1 import plan_of_format1
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.settings import check_net
from shiftaddaug.nets.sizes import shown_size
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.operators.stated import states_layers
from shiftaddaug.report.cost import CostReport, Priced, priced
from shiftaddaug.runs.compose import config_dir, group_options, plain
from shiftaddaug.runs.named import evaluated
from shiftaddaug.runs.rules import say_no_effect, typed_of
from shiftaddaug.runs.searched import warn_of_searched_net, with_searched_net
from shiftaddaug.runs.settings import GROUPS
from shiftaddaug.runs.settings import TopLevel as TrainTopLevel
from shiftaddaug.runs.target_plan import target_plan, warn_of_size
from shiftaddaug.settings import CheckpointPath, PathName, check_group

log = logging.getLogger(__name__)

Settings = Assignment[OperatorSettings]


@dataclass(frozen=True)
class TopLevel(TrainTopLevel):
    """Keys of configs/cost.yaml that are no group."""

    target: CheckpointPath | None = None
    save: PathName | None = None


@dataclass(frozen=True)
class _Network:
    """What is priced."""

    plan: Plan
    assignment: Settings
    data: str
    exempt: Sequence[str] | None
    """Layers that multiply whatever the operator; None leaves them to the operator's yaml."""


def read_cost(cfg: DictConfig, typed: Sequence[str], catalogue: Catalogue) -> CostReport:
    """Return what the network of a configuration costs.

    Args:
        cfg: composed from configs/cost.yaml.
        typed: what the user typed.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: the first mistake, by key; a layer that the hardware cannot compute.
    """
    config = plain(cfg)
    top = check_group("", config, TopLevel, more=GROUPS)
    hardware = hardware_from(config["hardware"])
    save = None if top.save is None else Path(top.save).expanduser()
    if save is not None and save.exists() and (not save.is_dir() or any(save.iterdir())):
        raise UserError(f"save={save}: holds something already, which is never overwritten; give a new folder")
    if save is not None:
        refuse_unwritable("save", save)
    if top.target is not None:
        _warn_of_target(typed)
        network = _of_target(evaluated("target", str(top.target), Path(config["paths"]["log_dir"])), catalogue)
    else:
        network = _of_config(cfg, with_searched_net(config, catalogue), catalogue)
    chosen = priced(network.assignment.title(), network.plan, network.assignment, hardware)
    others = _others(network, chosen, hardware, catalogue)
    return CostReport(
        title=f"{network.plan.name}, data={network.data} at {shown_size(network.plan.image_size)} px",
        plan=network.plan,
        hardware=hardware,
        chosen=chosen,
        operators=tuple(others),
        save=save,
    )


def _of_config(cfg: DictConfig, config: Mapping[str, Any], catalogue: Catalogue) -> _Network:
    task = tasks.settings_from(config["task"], catalogue)
    check_net(config["net"], catalogue)
    data = config["data"]
    settings_of(data)  # checks keys and values; the images need not be there
    plan = target_plan(config, archs.check_arch(config["arch"], catalogue), task, catalogue)
    warn_of_size(plan, data, task)
    warn_of_searched_net(config)
    assignment, exempt = assigned_settings(config, plan, catalogue), list(config["net"]["mult_layers"])
    written: Any = OmegaConf.to_container(cfg.net, resolve=False)
    own = str(written.get("mult_layers")).startswith("${op.")
    return _Network(plan, assignment, str(data["name"]), None if own else exempt)


def _warn_of_target(typed: Sequence[str]) -> None:
    """Warn of what the user typed of another network than the target's."""
    kept = ("target", "save", "hardware", "plugins", "paths", "logger", "hydra")
    others = [override for override in typed if not typed_of(kept, [override])]
    if others:
        say_no_effect("a target's network is priced as it is", others)


def _of_target(path: Path, catalogue: Catalogue) -> _Network:
    folder = path.parent if path.is_file() else path
    try:
        raw = json.loads((folder / "architecture.json").read_text())

        def make(stored: Mapping[str, Any]) -> OperatorSettings:
            return operators.settings_from(stored, catalogue)

        if raw["format"] == 1:
            plan = plan_of_format1(raw["plan"])
            assignment = uniform(plan, make(raw["operator"]), raw["mult_layers"], make(MULT))
        else:
            plan = Plan.from_dict(raw["plan"])
            assignment = assignment_from(raw, plan, make)
        data = str(raw["config"].get("data", {}).get("name"))
    except UserError as error:
        raise UserError(f"target={path}: {error}") from None
    except OSError as error:
        raise UserError(
            f"target={path}: no target there ({reason_of(error)}); options: a run's target folder"
        ) from None
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"target={path}: not a readable target ({type(error).__name__}: {reason})") from None
    return _Network(plan, assignment, data, sorted(assignment.exempt()))


def _others(network: _Network, chosen: Priced, hardware: Hardware, catalogue: Catalogue) -> list[Priced]:
    """Return the network under each operator's defaults, and as it is in the place of its own; mult comes first.

    An operator that is not the chosen one and cannot be priced is left out, and warned of.
    """
    found = []
    names = {operator.name for operator in network.assignment.multiplication_free()} or {"mult"}
    for name, raw in _yamls(catalogue).items():
        if names == {raw["name"]}:
            found.append(chosen)
            continue
        try:
            found.append(_under(name, raw, network, hardware, catalogue))
        except UserError as error:
            if raw["name"] == "mult":
                raise  # what all are compared with
            log.warning("op=%s is not among those side by side: %s", name, error)
    if chosen not in found:
        found.append(chosen)
    return sorted(found, key=lambda each: each.title != "mult")


def _under(name: str, raw: Mapping[str, Any], network: _Network, hardware: Hardware, catalogue: Catalogue) -> Priced:
    exempt = raw.get("mult_layers", []) if network.exempt is None else network.exempt
    operator, mult = operators.settings_from(raw, catalogue), operators.settings_from(MULT)
    return priced(name, network.plan, uniform(network.plan, operator, exempt, mult), hardware)


def _yamls(catalogue: Catalogue) -> dict[str, dict[str, Any]]:
    """Return the yamls of configs/op by name, with those of their group that they inherit from."""
    folders = [config_dir(), *catalogue.config_dirs()]
    found = {}
    for name in group_options(folders)["op"]:
        raw = _yaml(name, folders)
        if "name" in raw and not states_layers(raw):
            found[name] = raw
    return found


def _yaml(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    path = next((path for folder in folders if (path := folder / "op" / f"{name}.yaml").exists()), None)
    if path is None:
        return {}
    raw: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    merged: dict[str, Any] = {}
    for parent in raw.pop("defaults", []):
        if isinstance(parent, str) and parent != "_self_":
            merged |= _yaml(parent, folders)
    return merged | {str(key): value for key, value in raw.items()}
