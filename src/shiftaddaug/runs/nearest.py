"""Which key of a command's configuration a user may have meant. Imports no torch."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf

from shiftaddaug.errors import UserError
from shiftaddaug.runs.compose import (
    OPTIONAL_GROUPS,
    compose,
    config_dir,
    group_options,
    groups_of,
    plugin_config_dirs,
    takes_group,
)
from shiftaddaug.settings import did_you_mean
from shiftaddaug.signatures import signature_of
from shiftaddaug.words import meant

TRAIN = "train"


def chosen_config(config_name: str, arguments: list[str]) -> Any:
    """Compose a command's configuration of the groups that are chosen, whatever else was typed."""
    chosen = "|".join(group for group in group_options([config_dir()]) if group not in OPTIONAL_GROUPS)
    groups = [argument for argument in arguments if re.fullmatch(rf"({chosen})=\w+|plugins=.*", argument)]
    try:
        return compose(config_name, groups)
    except HydraException:  # a group that this command does not have
        return compose(config_name, [])


def hint_of(key: str, config_name: str, node: Any, arguments: list[str]) -> str:
    """Return a question that names the keys that may have been meant, or "" where that is a guess.

    An ablation has none of the keys of its runs, but a list of overrides.

    Args:
        key: as it was typed, without signs before it.
        config_name: of the command.
        node: its configuration, as `chosen_config` has it.
        arguments: of the command.
    """
    near = nearest(key, config_name, node, arguments)
    if not near and config_name == "ablate":
        of_runs = [each for each in nearest(key, TRAIN, chosen_config(TRAIN, []), arguments) if "/" not in each]
        near = [f"\"overrides=['{each}=...']\"" for each in of_runs[:1]]
    return did_you_mean(near)


def elsewhere(key: str, config_name: str, arguments: list[str]) -> str:
    """Return a remark on a key that trainings have, and the command does not: it is given what was trained."""
    if config_name in (TRAIN, "ablate") or key not in _known(TRAIN, chosen_config(TRAIN, []), arguments):
        return ""
    return f" ({key} is a key of src/train.py)"


def nearest(key: str, config_name: str, node: Any, arguments: list[str]) -> list[str]:
    """Return the keys of a command that may have been meant; arguments are those of `hint_of`."""
    known = _known(config_name, node, arguments)
    return [key] if key in known else meant(key, known)


def options_with(key: str, node: Any) -> str | None:
    """Return which options of a group have a key that the chosen one has not: `data=digits has none; data=cifar10 has`.

    Args:
        key: as it was typed, without signs before it.
        node: the configuration, as `chosen_config` has it.
    """
    group, _, leaf = key.partition(".")
    chosen = OmegaConf.select(node, f"{group}.name", throw_on_missing=False)
    folder = config_dir() / group
    if not folder.is_dir() or not leaf or not isinstance(chosen, str):
        return None
    found = [f"{group}={path.stem}" for path in sorted(folder.glob("[!_]*.yaml")) if leaf in _keys_in(path)]
    if not found or f"{group}={chosen}" in found:
        return None
    return f"{group}={chosen} has no {leaf}; these have: {', '.join(found)}"


def _keys_in(path: Path) -> set[str]:
    """Return the keys of a group's yaml, and of those that it inherits from."""
    content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    bases = [base for base in content.get("defaults", []) if isinstance(base, str) and base != "_self_"]
    return set(content).union(*(_keys_in(path.with_name(f"{base}.yaml")) for base in bases))


def _known(config_name: str, node: Any, arguments: list[str]) -> list[str]:
    """Return all keys of a configuration: those that only repeat another one come last."""
    written: Any = OmegaConf.to_container(node, resolve=False)
    keys, repeating = list[str](), list[str]()
    for key, value in _walk(written):
        (repeating if isinstance(value, str) and re.fullmatch(r"\$\{[\w.]+\}", value) else keys).append(key)
    options = group_options([config_dir(), *_plugin_dirs(arguments)])
    groups = [group for group in options if takes_group(config_name, group) and group not in groups_of(config_name)]
    groups += [group for group in groups_of(config_name) if group not in written]
    return [*keys, *groups, *repeating, *_not_stated(written)]


def _plugin_dirs(arguments: list[str]) -> list[Any]:
    try:
        return list(plugin_config_dirs(arguments))
    except UserError:
        return []


def _walk(node: Any, start: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items() if isinstance(node, Mapping) else ():
        if not str(name).startswith("_"):
            yield f"{start}{name}", value
            yield from _walk(value, f"{start}{name}.")


def _not_stated(written: Mapping[str, Any]) -> Iterator[str]:
    """Yield arguments of Lightning's Trainer that its yaml does not state: they are added, with a +."""
    trainer = written.get("trainer")
    signature = signature_of(trainer["_target_"]) if isinstance(trainer, Mapping) else None
    for name in signature.arguments if signature is not None else ():
        if name not in trainer:  # type: ignore[operator]
            yield f"+trainer.{name}"
