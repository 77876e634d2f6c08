"""Refuse arguments that Hydra meets with a traceback, or that would give a wrong name to what is trained."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override

from shiftaddaug.data.listing import IMAGE_SUFFIXES
from shiftaddaug.errors import UserError
from shiftaddaug.runs.compose import OPTIONAL_GROUPS, config_dir, group_options, groups_of, parsed, takes_group
from shiftaddaug.runs.explain import no_option
from shiftaddaug.runs.nearest import chosen_config, nearest

NAMING_IMAGES = ("images", "target")
"""Keys of src/predict.py whose value may be a file."""

NAMED = ("op", "net", "aug", "data", "task", "sharing", "hardware")
"""Groups whose options state their name."""

SEVERAL = ("experiment", "logger", "callbacks")
"""Groups whose options add up."""

VALUED = ("-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir", "-i",
          "--info", "--experimental-rerun")  # fmt: skip
"""Flags of Hydra's that the next argument is the value of."""


def split_paths(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (paths, other arguments): paths have no key, as a shell writes the files that a pattern finds.

    A file whose name holds a `=` is one, too, and so is what ends as images do and has no key that takes a file. What
    begins with `-`, and with `~` or `+` if no such file is there, is left to Hydra.
    """
    paths, others = list[str](), list[str]()
    for before, argument in zip(["", *arguments], arguments, strict=False):
        flag = argument.startswith("-") or before in VALUED
        key, _, value = argument.partition("=")
        is_image = value.lower().endswith(IMAGE_SUFFIXES) and key not in NAMING_IMAGES
        plain = ("=" not in argument or is_image) and not argument.startswith(("~", "+"))
        (paths if not flag and (plain or Path(argument).exists()) else others).append(argument)
    return paths, others


def refuse_arguments(arguments: Sequence[str], config_name: str) -> None:
    """Answer `logger=null`, `data=3`, `~trainer` and `=3`, `aug=_base`, and `aug.name=foo`.

    Args:
        arguments: of the command.
        config_name: of the command.

    Raises:
        UserError: naming the argument and the options.
    """
    groups = group_options([config_dir()])
    _refuse_dashes(arguments, config_name)
    refuse_names(arguments, groups_of(config_name))
    for argument in arguments:
        override = None if argument.startswith("-") else parsed(argument)
        if override is None:  # what cannot be parsed is answered by `explain`
            continue
        group = override.key_or_group
        if not group:
            raise UserError(f"{argument}: must be key=value, such as op=add")
        if not any(each == group or each.startswith(f"{group}/") for each in groups):
            continue
        chosen = override.value()
        if isinstance(chosen, list) and len(chosen) != 1 and group not in SEVERAL:
            jobs = ",".join(str(value) for value in _values(override)) or "..."
            raise UserError(f"{argument}: takes one option; options: {group}=NAME, or -m {group}={jobs}")
        if override.is_delete():
            _refuse_to_delete(argument, group, groups)
        elif not all(_is_name(value) for value in _values(override)) or _is_elsewhere(override, group, config_name):
            _refuse_choice(argument, group, config_name, arguments)


FLAGS = (
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun", "--info"),
    *("--shell-completion", "--config-path", "--config-name", "--config-dir", "--experimental-rerun"),
)
"""Hydra's own, which may be cut short."""


def _refuse_dashes(arguments: Sequence[str], config_name: str) -> None:
    """Answer `--lr 0.1` and `--epochs=3`, as other programs take them.

    Raises:
        UserError: naming the first one, and how its key is typed.
    """
    for argument in arguments:
        word, _, value = argument.partition("=")
        if word.startswith("--") and not any(flag.startswith(word) for flag in FLAGS):
            key = word[2:].replace("-", "_")
            meant = nearest(key, config_name, chosen_config(config_name, []), [])[:1] or [key]
            raise UserError(
                f"{argument}: keys are typed without dashes, and with an equals sign; did you mean "
                f"{meant[0]}={value or '...'}?"
            )


def refuse_names(arguments: Iterable[str], groups: Collection[str] = NAMED) -> None:
    """Refuse another name for what a group's option is: messages, tables and results would call it so.

    Args:
        arguments: overrides.
        groups: that the command takes.

    Raises:
        UserError: naming the first one.
    """
    for argument in arguments:
        group, _, value = argument.lstrip("+").partition(".name=")
        if group in NAMED and group in groups and value:
            options = ", ".join(f"{group}={name}" for name in group_options([config_dir()])[group])
            raise UserError(
                f"{argument}: is the name of what {group}= chooses; options: {options}, or a yaml of your own in "
                f"configs/{group}"
            )


def _values(override: Override) -> list[Any]:
    """Return all that a group is given, by a list or by the jobs of a multirun."""
    value: Any = override.value()
    each = list(value.list) if isinstance(value, ChoiceSweep) else [value]
    return [name for part in each for name in (part if isinstance(part, list) else [part])]


def _is_name(value: Any) -> bool:
    """Whether a value may name an option, or holds keys: a word does not begin as what others inherit from."""
    if isinstance(value, dict):
        return True
    text = getattr(value, "text", value)
    return isinstance(text, str) and bool(text) and not text.rpartition("/")[2].startswith("_")


def _is_elsewhere(override: Override, group: str, config_name: str) -> bool:
    """Whether an option is chosen of a group of other commands; keys of such a name may be set: eval.py has data."""
    return not takes_group(config_name, group) and not any(isinstance(value, dict) for value in _values(override))


def _refuse_to_delete(argument: str, group: str, groups: dict[str, list[str]]) -> None:
    if group in groups and group not in OPTIONAL_GROUPS:
        raise UserError(f"{argument}: no such option; options: {', '.join(groups[group])}")


def _refuse_choice(argument: str, group: str, config_name: str, arguments: Iterable[str]) -> None:
    if not takes_group(config_name, group):
        raise UserError(f"{argument}: no such group; options: {', '.join(groups_of(config_name))}")
    remedy = "; leave it out for none" if group in OPTIONAL_GROUPS else ""
    value = argument.partition("=")[2].strip("'\"")
    raise UserError(f"{no_option(f'{group}/{value}', config_name, arguments)}{remedy}")
