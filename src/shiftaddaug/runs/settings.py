"""The settings of a training: read once from its configuration, checked before torch or anything else expensive."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from shiftaddaug import operators, tasks
from shiftaddaug.callbacks.settings import check_callbacks
from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.data.checks import check_data_config, holds_validation
from shiftaddaug.data.settings import ClassesSettings
from shiftaddaug.errors import UserError
from shiftaddaug.hardware.budget import check_budget
from shiftaddaug.hardware.settings import Hardware, hardware_from
from shiftaddaug.hybrid.remap_file import with_remap_file
from shiftaddaug.hybrid.settings import SharingSettings, check_sharing
from shiftaddaug.hydra_nodes import check_node
from shiftaddaug.nets import archs
from shiftaddaug.nets.arch import ArchSettings
from shiftaddaug.nets.assignment import Assignment, assigned_settings
from shiftaddaug.nets.extras import plan_extra_blocks
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.settings import AugSettings, NetSettings, check_aug, check_net
from shiftaddaug.nets.spec import Widening
from shiftaddaug.nets.surroundings import choices
from shiftaddaug.nets.timetable import check_timetables
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.operators.stated import make_stated
from shiftaddaug.report.loggers import check_packages
from shiftaddaug.runs.absolute import with_absolute_paths
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.init_from import check_source
from shiftaddaug.runs.joint_checks import (
    check_compile,
    check_frozen,
    check_operators,
    check_sharing_of_blends,
    check_strategy,
    check_unvalidated,
    warn_of_early_stop,
    warn_of_operators,
    warn_of_recipe,
)
from shiftaddaug.runs.memory import Step, check_evaluation_memory, check_memory
from shiftaddaug.runs.no_effect import warn_of_settings
from shiftaddaug.runs.places import check_places
from shiftaddaug.runs.rules import Checked
from shiftaddaug.runs.searched import warn_of_searched_net, with_searched_net
from shiftaddaug.runs.searching import is_multirun
from shiftaddaug.runs.target_plan import check_batch, target_plan
from shiftaddaug.runs.trainer_settings import check_processes, check_trainer
from shiftaddaug.settings import CheckpointPath, PathName, PluginNames, Seed, Tags, check, check_group
from shiftaddaug.tasks.figures import LOSS
from shiftaddaug.tasks.optim_settings import OptimSettings, check_optim
from shiftaddaug.tasks.settings import TaskSettings

log = logging.getLogger(__name__)

GROUPS = (
    *("op", "net", "arch", "aug", "data", "task", "optim", "callbacks", "sharing", "trainer", "logger", "paths"),
    *("hardware", "sweep"),
)
"""Keys of the top level that hold keys: each is a field of `RunSettings`, or read from its configuration."""


IMAGES = get_type_hints(ClassesSettings, include_extras=True)
"""Ranges of keys that data modules with a constructor of their own may not say."""


@dataclass(frozen=True)
class TopLevel:
    """Keys of configs/train.yaml that are no group."""

    seed: Seed
    ckpt_path: CheckpointPath | None = None
    resume: bool = False
    plugins: PluginNames = ()  # type: ignore[assignment]
    debug: str | None = None
    train: bool = True
    test: bool = True
    tags: Tags = ()  # type: ignore[assignment]
    print_config: bool = False


@dataclass(frozen=True)
class PathsSettings:
    """Keys of configs/paths."""

    root_dir: PathName
    log_dir: PathName
    output_dir: PathName
    data_dir: PathName | None = None


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Settings of the groups that are checked without knowing the network."""

    top: TopLevel
    paths: PathsSettings
    net: NetSettings
    arch: ArchSettings
    aug: AugSettings
    sharing: SharingSettings
    optim: OptimSettings
    hardware: Hardware
    """What the target's costs are told of."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(Groups):
    """A training, as its steps see it: nothing below reads Hydra's configuration again."""

    config: Mapping[str, Any]
    """The whole configuration as plain containers, its interpolations resolved. Recorded in config.yaml and in each
    checkpoint; what is built by Hydra (data, callbacks, loggers, trainer, optimiser) is built of its nodes."""
    assignment: Assignment[OperatorSettings]
    """The operators of the target's layers."""
    task: TaskSettings
    plan: Plan
    """The target network's."""
    catalogue: Catalogue
    """What the package and the plugins in use hold."""
    typed: tuple[str, ...]
    """Overrides that the user typed."""
    started: float
    """When the user's command, or this job of it, began: seconds since the epoch."""

    @property
    def folder(self) -> Path:
        """Where the run leaves everything."""
        return Path(self.paths.output_dir)

    @property
    def trained(self) -> Mapping[str, Any]:
        """The configuration of the training that the weights are of: with `train=false` it was another run's."""
        return {**self.config, "train": True}

    @property
    def step(self) -> Step:
        """What is computed in a training step, as far as memory goes."""
        return Step(self.config, widening_of(self.plan, self.aug), self.assignment, self.sharing)

    @property
    def validated(self) -> bool:
        """Whether there are images to validate on; else the last epoch is deployed, and no validation is claimed."""
        return holds_validation(self.config["data"])


def read_settings(
    cfg: DictConfig,
    typed: Sequence[str] = (),
    catalogue: Catalogue = PACKAGE_ONLY,
    started: float | None = None,
) -> RunSettings:
    """Return the settings of a training.

    Args:
        cfg: composed from configs/train.yaml.
        typed: what the user typed, to warn of settings without effect.
        catalogue: of the package and the plugins in use.
        started: when the command began; None is now.

    Raises:
        UserError: the first mistake, by key.
    """
    cfg = with_absolute_paths(cfg)
    task = tasks.settings_from(plain(cfg.task), catalogue)  # whose keys others are interpolated from
    config = with_searched_net(plain(cfg), catalogue)
    written: Any = OmegaConf.to_container(cfg, resolve=False)
    groups = read_groups(config, written["optim"], task, catalogue)
    check_compile(task.compile)
    check_timetables(config["callbacks"])
    plan = _plan(config, groups.arch, task, catalogue)
    checked = checked_of(config, written, groups, task, plan, catalogue)
    warn_of_searched_net(config)
    check_strategy(checked)
    check_sharing_of_blends(checked)
    check_frozen(config)
    warn_of_settings(checked, typed)
    warn_of_operators(checked)
    warn_of_early_stop(checked)
    warn_of_recipe(checked.op, operators.available(catalogue), typed)
    check_operators(checked)
    config = with_remap_file(config)
    settings = RunSettings(
        **vars(groups),
        config=config,
        assignment=assigned_settings(config, plan, catalogue),
        task=task,
        plan=plan,
        catalogue=catalogue,
        typed=tuple(typed),
        started=time.time() if started is None else started,
    )
    check_memory(settings.step)
    check_evaluation_memory(plan, task.seen(config["data"]), config)
    check_budget(plan, settings.assignment, settings.hardware)
    return settings


def checked_of(
    config: Mapping[str, Any],
    written: Mapping[str, Any],
    groups: Groups,
    task: TaskSettings,
    plan: Plan,
    catalogue: Catalogue,
) -> Checked:
    """Return what rules look at.

    Args:
        config: of a run, as plain containers, its interpolations resolved.
        written: the same with its interpolations as they are written.
        groups: its settings.
        task: its task.
        plan: of the target.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: operators that are none, or not the plan's.
    """
    assignment = assigned_settings(config, plan, catalogue)
    named = make_stated(config["op"], lambda raw: operators.settings_from(raw, catalogue))
    widening = widening_of(plan, groups.aug)
    return Checked(config, written, named, assignment, groups.sharing, widening, groups.arch, task)


def read_groups(
    config: Mapping[str, Any],
    written_optim: Mapping[str, Any],
    task: TaskSettings,
    catalogue: Catalogue = PACKAGE_ONLY,
) -> Groups:
    """Return the settings of those groups that no other is needed for; check keys, types and ranges of the rest.

    Args:
        config: of a run, as plain containers, its interpolations resolved.
        written_optim: the `optim` group with its interpolations as they are written.
        task: whose figures callbacks may watch.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: the first mistake, by key.
    """
    top = check_group("", config, TopLevel, more=GROUPS)
    if not top.train and top.ckpt_path is None:
        raise UserError(
            "train=false: deploys and tests the weights of a checkpoint, and ckpt_path=null names none; options: "
            "ckpt_path=RUN, a run's folder, which stands for its best checkpoint"
        )
    paths = check_group("paths", config["paths"], PathsSettings)
    net, arch = check_net(config["net"], catalogue), archs.check_arch(config["arch"], catalogue)
    aug, sharing = check_aug(config["aug"]), check_sharing(config["sharing"])
    check_trainer(config["trainer"])
    check_processes(config["trainer"], is_multirun())
    optim = check_optim(config["optim"], written_optim, config["trainer"]["max_epochs"])
    check_node("data", config["data"], IMAGES)
    check("logger", config.get("logger"), dict[str, Any] | None)
    check_packages(config.get("logger") or {})
    check_node("logger", config.get("logger") or {})
    check_callbacks(
        config["callbacks"], {figure.name: figure.better for figure in task.measured}, holds_validation(config["data"])
    )
    check_places(config)
    if net.init_from is not None and top.ckpt_path is None:
        check_source(net.init_from)
    hardware = hardware_from(config["hardware"])
    return Groups(top=top, paths=paths, net=net, arch=arch, aug=aug, sharing=sharing, optim=optim, hardware=hardware)


def widening_of(plan: Plan, aug: AugSettings) -> Widening:
    """Return how far a plan is widened and deepened."""
    extras, chosen = plan_extra_blocks(plan, aug.extra_blocks, aug.extra_after), choices(aug.channels, plan)
    multipliers = tuple(aug.width_multipliers), tuple(aug.expand_multipliers)
    return Widening(plan, *multipliers, aug.divisor, extras, chosen)


def _plan(config: Mapping[str, Any], arch: ArchSettings, task: TaskSettings, catalogue: Catalogue) -> Plan:
    """Return the plan of the target network, if the data are sound and the task's."""
    data = config["data"]
    check_data_config(data)
    if not holds_validation(data):
        check_unvalidated(config["callbacks"])
    task.check_data(data)
    task.check_distillation(config["aug"]["distill_weight"])
    plan = target_plan(config, arch, task, catalogue)
    check_batch(config, arch, plan)
    _check_figures(config, task, plan.num_classes)
    return plan


def _check_figures(config: Mapping[str, Any], task: TaskSettings, outputs: int) -> None:
    """Refuse a headline, and callbacks that watch a figure, that are not measured of so many outputs."""
    task.check_outputs(outputs)
    figures = task.figures_of(outputs)
    if figures != task.figures:
        measured = {figure.name: figure.better for figure in (*figures, LOSS)}
        check_callbacks(config["callbacks"], measured, holds_validation(config["data"]))
