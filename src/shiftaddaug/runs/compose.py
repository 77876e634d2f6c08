"""A run's configuration from the yamls of `configs/` and overrides, and one line for what does not compose."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue, catalogue_of, config_dir
from shiftaddaug.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
"""The checkout, if the package runs from one."""

OPTIONAL_GROUPS = ("experiment", "sweep", "debug")
"""Config groups of which a run may have none."""


def default_root() -> Path:
    """Return where logs/ and data/ go: the checkout, or the working directory of an installed package."""
    return ROOT if (ROOT / "configs" / "train.yaml").exists() else Path.cwd()


def group_options(config_dirs: Sequence[Path]) -> dict[str, list[str]]:
    """Return the options of each group that a user chooses from, such as `op` or `optim/scheduler`, sorted.

    Args:
        config_dirs: folders of configs. A file whose name begins with `_` is what others inherit from, and no option.
    """
    options: dict[str, set[str]] = {}
    for folder in config_dirs:
        for path in folder.rglob("[!_]*.yaml"):
            group = path.parent.relative_to(folder).as_posix()
            if group != "." and group.split("/")[0] != "hydra":
                options.setdefault(group, set()).add(path.stem)
    return {group: sorted(names) for group, names in sorted(options.items())}


def compose_config(config_name: str, overrides: list[str]) -> DictConfig:
    """Compose a configuration with Hydra, within a command or outside of one.

    Raises:
        UserError: overrides that do not compose.
    """
    try:
        return _compose(config_name, overrides)
    except HydraException as error:
        raise UserError(describe(error, config_name, overrides)) from error


def _compose(config_name: str, overrides: list[str]) -> DictConfig:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    overrides = with_plugin_configs(overrides)
    if GlobalHydra.instance().is_initialized():
        return compose(config_name, overrides)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(config_name, overrides)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain containers, its interpolations resolved."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def catalogue_in(overrides: Iterable[str]) -> Catalogue:
    """Return the catalogue of the plugins that the overrides name.

    Raises:
        UserError: a plugin that cannot be imported.
    """
    given = [override for override in overrides if override.startswith("plugins=")]
    if not given:
        return PACKAGE_ONLY
    return catalogue_of(OverridesParser.create().parse_override(given[-1]).value())


def plugin_config_dirs(overrides: Iterable[str]) -> list[Path]:
    """Return the `configs` folders of the plugins that the overrides name, as `catalogue_in` does."""
    return catalogue_in(overrides).config_dirs()


def with_plugin_configs(overrides: list[str]) -> list[str]:
    """Return the overrides with the plugins' `configs` folders in Hydra's search path: `op=ternary` is found there.

    Raises:
        UserError: a plugin that cannot be imported.
    """
    folders = [f"file://{path}" for path in plugin_config_dirs(overrides)]
    if not folders:
        return overrides
    typed = [override for override in overrides if override.startswith("hydra.searchpath=")]
    others: Any = OverridesParser.create().parse_override(typed[-1]).value() if typed else []
    path = ",".join(quoted(folder) for folder in dict.fromkeys([*others, *folders]))
    return [*(override for override in overrides if override not in typed), f"hydra.searchpath=[{path}]"]


def quoted(value: object) -> str:
    """Quote the value of an override: a path may hold what means something to Hydra."""
    escaped = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + (r"\'" if match[2] else ""), str(value))
    return f"'{escaped}'"


def expand_home(argument: str) -> str:
    """Return `key=~/folder` with the home folder: shells leave it to us, and Hydra's grammar has no such value."""
    return re.sub(r"""^([\w.+]+=['"]?)~(?=/|['"]?$)""", lambda match: match[1] + str(Path.home()), argument)


def describe(error: Exception, config_name: str, arguments: list[str]) -> str:
    """Return one line on a mistake in the overrides `arguments` that `config_name` was composed with."""
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file is not None:
        group, _, value = str(error.missing_cfg_file).rpartition("/")
        options = [option for option in error.options if not option.startswith("_")]
        return f"{group}={value}: no such option; options: {', '.join(options)}"
    message = " ".join(str(error).split())
    unknown = re.match(r"Could not override '([\w.]+)'", message)
    return message if unknown is None else _no_such_key(unknown[1], config_name, arguments)


def _no_such_key(key: str, config_name: str, arguments: list[str]) -> str:
    """Return a message that lists the keys where the user looked for `key`, the nearest one first."""
    chosen = "|".join(group for group in group_options([config_dir()]) if group not in OPTIONAL_GROUPS)
    groups = [argument for argument in arguments if re.fullmatch(rf"({chosen})=\w+|plugins=.*", argument)]
    try:
        node: Any = _compose(config_name, groups)
    except HydraException:  # a group that this command does not have
        node = _compose(config_name, [])
    parent = ""
    for part in key.split("."):
        if not OmegaConf.is_dict(node) or part not in node:
            break
        parent, node = f"{parent}{part}.", OmegaConf.select(node, part, throw_on_missing=False)
    options = [f"{parent}{name}" for name in node] if OmegaConf.is_dict(node) else []
    near = get_close_matches(key, options, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{key}: no such key; {hint}options: {', '.join(options) or 'none'} (+{key}=... adds a new one)"
