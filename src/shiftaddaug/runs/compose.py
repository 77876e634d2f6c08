"""A run's configuration from the yamls of `configs/` and overrides; `explain.py` answers what does not compose."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue, catalogue_of, config_dir

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
"""The checkout, if the package runs from one."""

OPTIONAL_GROUPS = ("recipe", "experiment", "sweep", "debug")
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


def groups_of(config_name: str) -> list[str]:
    """Return the groups that a command's configuration is made of, as the `defaults` of its yaml list them.

    A yaml of another command among them (configs/cost.yaml has train's) brings its own.
    """
    groups: list[str] = []
    for entry in yaml.safe_load((config_dir() / f"{config_name}.yaml").read_text())["defaults"]:
        if isinstance(entry, dict):
            groups += [group for group in entry if group.split("/")[0] not in ("hydra", "override hydra")]
        elif entry != "_self_":
            groups += groups_of(entry)
    return groups


def takes_group(config_name: str, group: str) -> bool:
    """Whether a command takes a group, or one that it lies in: `experiment/ablation` is a part of `experiment`."""
    return any(f"{group}/".startswith(f"{each}/") for each in groups_of(config_name))


def compose(config_name: str, overrides: list[str]) -> DictConfig:
    """Compose a configuration, within a command or outside of one; a mistake is answered by Hydra's own errors."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    overrides = with_plugin_configs(overrides)
    if GlobalHydra.instance().is_initialized():
        return hydra_compose(config_name, overrides)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return hydra_compose(config_name, overrides)


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


KEY = r"[+~]*[\w./@:$-]+"
"""What Hydra takes for a key."""


def parsed(argument: str) -> Override | None:
    """Return an override as Hydra reads it; None where its grammar has no place for it."""
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def text_of(argument: str) -> str:
    """Return the value of an override as text, without the quotes that are Hydra's."""
    override, value = parsed(argument), argument.partition("=")[2]
    if override is None or override.is_sweep_override():
        return value.strip("'\"")
    read = override.value()
    return str(getattr(read, "text", read)) if isinstance(read, str | QuotedString) else value


def as_text(argument: str, multirun: bool = False) -> str:
    """Return an override with its value quoted, where Hydra's grammar refuses it otherwise and it can be a text.

    So names of files may hold `=`, parentheses, quotes and letters of any language: Lightning's own are
    `epoch=0-step=5.ckpt`. What Hydra reads stays as it is, and so do lists, groups of keys, functions and
    interpolations. In a multirun each of several values is quoted.

    Args:
        argument: of a command.
        multirun: whether commas stand between the values of a sweep.
    """
    key, equals, value = argument.partition("=")
    if not equals or not value or re.fullmatch(KEY, key) is None or parsed(argument) is not None:
        return argument
    if value[0] in "[{'\"" or "${" in value or re.match(r"\w+\(", value):
        return argument
    parts = value.split(",") if multirun else [value]
    asked = ",".join(part if parsed(f"{key}={part}") else quoted(part) for part in parts)
    return f"{key}={asked}" if all(parts) and parsed(f"{key}={asked}") is not None else argument


def typed(key: str, value: object) -> str:
    """Return an override that gives a key a text, without quotes where it is read so without."""
    plain_one = f"{key}={value}"
    override = parsed(as_text(plain_one))
    as_meant = override is not None and not override.is_sweep_override() and text_of(as_text(plain_one)) == str(value)
    return plain_one if as_meant else f"{key}={quoted(value)}"


def expand_home(argument: str) -> str:
    """Return `key=~/folder` with the home folder: shells leave it to us, and Hydra's grammar has no such value.

    So may the file of an address lie there: `key=sqlite:///~/file`.
    """
    return re.sub(r"""^([\w.+]+=['"]?(?:\w+:///)?)~(?=/|['"]?$)""", lambda match: match[1] + str(Path.home()), argument)
