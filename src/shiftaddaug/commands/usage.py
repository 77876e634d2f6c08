"""What `--help` prints: a line for each group, its options, and the keys. Hydra's own takes three times as long."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from shiftaddaug.commands.groups import COMMANDS, GROUPS, USED
from shiftaddaug.runs.compose import group_options, takes_group

HELP = {"-h", "--help"}
WIDTH = 100
"""Columns of the text, but for keys and values that are longer."""


def asks_for_help(arguments: list[str]) -> bool:
    """Whether help is asked for, with no other flag: those are left to Hydra."""
    flags = {argument for argument in arguments if argument.startswith("-")}
    return bool(flags) and flags <= HELP


def help_text(config_dirs: Sequence[Path], config_name: str, arguments: list[str]) -> str:
    """Return what a command does, the groups that it takes, and its configuration as the arguments compose it.

    Args:
        config_dirs: where configs are: the package's, in which `config_name` is, and those of plugins.
        config_name: of the command.
        arguments: of the command, with the plugins' folders in Hydra's search path.

    Raises HydraException or OmegaConfBaseException where the overrides do not compose.
    """
    overrides = [argument for argument in arguments if argument not in HELP]
    with initialize_config_dir(str(config_dirs[0]), version_base="1.3"):
        cfg = compose(config_name, overrides, return_hydra_config=True)
    return "\n".join(
        [
            COMMANDS[config_name],
            f"Example: {_example(config_dirs[0] / f'{config_name}.yaml')}",
            "",
            "Groups, of which an option is chosen by group=option; * marks the one that is chosen now:",
            "",
            config_groups(config_dirs, config_name, cfg.hydra.runtime.choices),
            "Keys, each of which is changed by key=value (optim.lr=0.1), as they are now:",
            "",
            OmegaConf.to_yaml(_shown(cfg, config_name)),
            "Flags: -m runs every combination of several values (op=shift,add); --hydra-help lists those of Hydra.",
        ]
    )


def config_groups(config_dirs: Sequence[Path], config_name: str, choices: Mapping[str, str | None]) -> str:
    """Return what each group decides that the user of a command chooses from, and below it its options.

    Args:
        config_dirs: where configs are.
        config_name: of the command.
        choices: the chosen options, by the names of their groups.
    """
    text = ""
    for group, names in group_options(config_dirs).items():
        if takes_group(config_name, group):
            marked = [f"{name}*" if choices.get(group) == name else name for name in names]
            options = textwrap.fill(", ".join(marked), WIDTH, initial_indent="    ", subsequent_indent="    ")
            text += f"{group}: {GROUPS.get(group, 'of a plugin')}\n{options}\n"
    return text


def _example(path: Path) -> str:
    """Return the command in the first line of a command's yaml."""
    return path.read_text().partition("\n")[0].lstrip("# ")


def _shown(cfg: DictConfig, config_name: str) -> DictConfig:
    """Return the keys that the command uses."""
    shown = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    for group, keys in USED.get(config_name, {}).items():
        shown[group] = OmegaConf.masked_copy(cfg[group], [key for key in keys if key in cfg[group]])
    return shown
