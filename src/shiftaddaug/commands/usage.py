"""What `--help` prints: Hydra's own text, in a third of Hydra's time (it makes its configs anew for every group)."""

from collections.abc import Sequence
from pathlib import Path
from string import Template

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from shiftaddaug.runs.compose import group_options, takes_group

HELP = {"-h", "--help"}


def asks_for_help(arguments: list[str]) -> bool:
    """Whether help is asked for, with no other flag: those are left to Hydra."""
    flags = {argument for argument in arguments if argument.startswith("-")}
    return bool(flags) and flags <= HELP


def help_text(config_dirs: Sequence[Path], config_name: str, arguments: list[str]) -> str:
    """Hydra's template (hydra.help.template), filled with the groups of some folders and the composed configuration.

    Args:
        config_dirs: where configs are: the package's, in which `config_name` is, and those of plugins.
        config_name: of the command.
        arguments: of the command, with the plugins' folders in Hydra's search path.

    Raises HydraException or OmegaConfBaseException where the overrides do not compose.
    """
    overrides = [argument for argument in arguments if argument not in HELP]
    with initialize_config_dir(str(config_dirs[0]), version_base="1.3"):
        cfg = compose(config_name, overrides, return_hydra_config=True)
    shown = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return Template(cfg.hydra.help.template).safe_substitute(
        APP_CONFIG_GROUPS=config_groups(config_dirs, config_name), CONFIG=OmegaConf.to_yaml(shown)
    )


def config_groups(config_dirs: Sequence[Path], config_name: str) -> str:
    """Return a line for each group that the user of a command chooses from, with its options."""
    options = {group: names for group, names in group_options(config_dirs).items() if takes_group(config_name, group)}
    return "".join(f"{group}: {', '.join(names)}\n" for group, names in options.items())
