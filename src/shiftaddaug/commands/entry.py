"""The way into every command: compose with Hydra, answer mistakes in one line, exit non-zero. Imports no torch."""

import atexit
import errno
import functools
import gc
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue, catalogue_of
from shiftaddaug.commands.usage import asks_for_help, help_text, is_base, options_in
from shiftaddaug.errors import TrainingDiverged, UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""A disk, or what one may have of it."""
MISTAKES = (UserError, HydraException, OmegaConfBaseException, YAMLError)
BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError)
"""What code raises that is wrong itself: worth a traceback. Arguments are refused by other errors."""

GROUPS = (
    *("op", "aug", "net", "data", "task", "optim", "optim/scheduler", "callbacks", "trainer", "logger"),
    *("sharing", "reorder", "block_variant", "bn"),
)
"""Config groups whose choice decides which keys there are."""

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "paths.log_dir", "paths.root_dir", "paths.output_dir", "folder")
"""Keys of folders that Hydra, or a command, writes into."""

OPTIONAL_GROUPS = ("experiment", "sweep", "debug")
"""Config groups of which a run may have none."""

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
"""The checkout, if the package runs from one."""


def config_dir() -> Path:
    """The configs: the checkout's, or the copy inside an installed package."""
    checkout = ROOT / "configs"
    return checkout if (checkout / "train.yaml").exists() else PACKAGE / "configs"


def default_root() -> Path:
    """Where logs/ and data/ go: the checkout, or the working directory of an installed package."""
    return ROOT if (ROOT / "configs" / "train.yaml").exists() else Path.cwd()


def run_command(config_name: str, function: Callable[[DictConfig], Any]) -> None:
    """Run `function` on the configuration that the command line composes.

    Exits with status 2 and one line on stderr for a mistake of the user's, 130 on Ctrl-C; other errors keep
    their traceback.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then lets errors through, and they are answered here
    os.environ.setdefault("SHIFTADDAUG_ROOT", str(default_root()))
    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)
    failed: list[str] = []
    command = main(_answering_mistakes(config_name, function, failed))
    sys.argv[1:] = map(expand_home, sys.argv[1:])
    try:
        if asks_for_help(sys.argv[1:]):
            folders = [config_dir(), *plugin_config_dirs(sys.argv[1:])]
            print(help_text(folders, config_name, with_plugin_configs(sys.argv[1:])))
            return
        refuse_null_groups(sys.argv[1:])
        refuse_unusable_folders(sys.argv[1:])
        sys.argv[1:] = with_plugin_configs(sys.argv[1:])
        command()
        if failed:
            fail(f"{len(failed)} of the jobs failed: {failed[0]}")
    except MISTAKES as error:
        if _is_a_bug(error):
            raise
        fail(describe(error, config_name, sys.argv[1:]))
    except OSError as error:
        _answer_full_disk(error)
        raise
    except KeyboardInterrupt as interrupt:
        go_on = ["run it again to go on"] if config_name == "ablate" else map(str, interrupt.args)
        print("; ".join(["interrupted", *go_on]), file=sys.stderr)
        sys.exit(130)


def _answering_mistakes(
    config_name: str, function: Callable[[DictConfig], Any], failed: list[str]
) -> Callable[[DictConfig], Any]:
    """Answer a job's mistakes here: Hydra would print the overrides before letting them through.

    A job of a multirun that cannot be run, or whose loss diverged, does not end the others: it is noted in `failed`.
    In a search, which learns from scores, one that diverged gets the worst there is; one that cannot be run ends it.
    """

    @functools.wraps(function)
    def answering(cfg: DictConfig) -> Any:
        try:
            return function(cfg)
        except MISTAKES as error:
            if _is_a_bug(error):
                raise
            if isinstance(error, InstantiationException) and isinstance(error.__cause__, MISTAKES):
                error = error.__cause__
            message = describe(error, config_name, sys.argv[1:])
            if not _goes_on_after(error):
                fail(message)
            print(f"error: {message}", file=sys.stderr)
            failed.append(message)
            return worst_score(cfg) if isinstance(error, TrainingDiverged) else 0.0
        except OSError as error:
            _answer_full_disk(error)
            raise

    return answering


def worst_score(cfg: DictConfig) -> float:
    """What a search is told of a training that has no score: the worst value of its task's headline figure."""
    from shiftaddaug.tasks import settings_from

    task: Any = OmegaConf.to_container(cfg.task, resolve=True)
    return settings_from(task, catalogue_of(cfg.plugins)).headline_figure.worst


def _is_a_bug(error: Exception) -> bool:
    """Whether what a configuration names broke while it was built, and did not refuse its arguments."""
    return isinstance(error, InstantiationException) and isinstance(error.__cause__, BUGS)


def _goes_on_after(error: Exception) -> bool:
    """Whether the other jobs of a multirun are to be run."""
    hydra_config = HydraConfig.get()
    if hydra_config.mode != RunMode.MULTIRUN:
        return False
    return isinstance(error, TrainingDiverged) or hydra_config.sweeper["_target_"].endswith(".BasicSweeper")


def _answer_full_disk(error: OSError) -> None:
    if error.errno in FULL:
        fail(f"{error.filename or 'a file'}: could not be written ({error.strerror})")


def compose_config(config_name: str, overrides: list[str]) -> DictConfig:
    """Compose a configuration with Hydra, within a command or outside of one."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    overrides = with_plugin_configs(overrides)
    if GlobalHydra.instance().is_initialized():
        return compose(config_name, overrides)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(config_name, overrides)


def catalogue_in(overrides: Iterable[str]) -> Catalogue:
    """The catalogue of the plugins that the overrides name.

    Raises:
        UserError: a plugin that cannot be imported.
    """
    given = [override for override in overrides if override.startswith("plugins=")]
    if not given:
        return PACKAGE_ONLY
    return catalogue_of(OverridesParser.create().parse_override(given[-1]).value())


def plugin_config_dirs(overrides: Iterable[str]) -> list[Path]:
    """The `configs` folders of the plugins that the overrides name, as `catalogue_in` does."""
    return catalogue_in(overrides).config_dirs()


def with_plugin_configs(overrides: list[str]) -> list[str]:
    """The overrides, and the plugins' `configs` folders in Hydra's search path: `op=ternary` is found there.

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


def describe(error: Exception, config_name: str, arguments: list[str]) -> str:
    """One line on a mistake in the overrides `arguments` that `config_name` was composed with."""
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file is not None:
        group, _, value = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={value}: no such option; options: {', '.join(o for o in error.options if not is_base(o))}"
    message = " ".join(str(error).split())
    unknown = re.match(r"Could not override '([\w.]+)'", message)
    return message if unknown is None else _no_such_key(unknown[1], config_name, arguments)


def _no_such_key(key: str, config_name: str, arguments: list[str]) -> str:
    """Message that lists the keys where the user looked for `key`, the nearest one first."""
    from difflib import get_close_matches

    groups = [a for a in arguments if re.fullmatch(rf"({'|'.join(GROUPS)})=\w+|plugins=.*", a)]
    try:
        node: Any = compose_config(config_name, groups)
    except HydraException:  # a group that this command does not have
        node = compose_config(config_name, [])
    parent = ""
    for part in key.split("."):
        if not OmegaConf.is_dict(node) or part not in node:
            break
        parent, node = f"{parent}{part}.", OmegaConf.select(node, part, throw_on_missing=False)
    options = [f"{parent}{name}" for name in node] if OmegaConf.is_dict(node) else []
    near = get_close_matches(key, options, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{key}: no such key; {hint}options: {', '.join(options) or 'none'} (+{key}=... adds a new one)"


LONGEST = 1000
"""Characters of a message: a stored value may be a book."""


def fail(message: str) -> NoReturn:
    """Print the message in one line, and exit with status 2."""
    print(f"error: {message if len(message) <= LONGEST else message[:LONGEST] + ' ...'}", file=sys.stderr)
    sys.exit(2)


def expand_home(argument: str) -> str:
    """`key=~/folder` with the home folder: shells leave it to us, and Hydra's grammar has no such value."""
    return re.sub(r"""^([\w.+]+=['"]?)~(?=/|['"]?$)""", lambda match: match[1] + str(Path.home()), argument)


def refuse_null_groups(arguments: list[str]) -> None:
    """Answer `logger=null`, which Hydra meets with a traceback, and `aug=_base`, which the options inherit from.

    Raises:
        UserError: naming the group and its options.
    """
    for argument in arguments:
        group, _, value = argument.partition("=")
        if group in (*GROUPS, *OPTIONAL_GROUPS) and (value == "null" or is_base(value)):
            options = options_in((config_dir() / group / value).parent)
            remedy = "; leave it out for none" if group in OPTIONAL_GROUPS else ""
            raise UserError(f"{argument}: no such option; options: {', '.join(options)}{remedy}")


def refuse_unusable_folders(arguments: list[str]) -> None:
    """Refuse a run folder that holds a run already, or that cannot be made, before Hydra writes into it.

    Raises:
        UserError: naming the key.
    """
    if "LOCAL_RANK" in os.environ:  # a rank of a run that was already let in
        return
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for key in FOLDERS:
        if given.get(key, "unset").strip("'\"") in ("", "null"):
            raise UserError(f"{key}={given[key]}: must name a folder")
    folders = {
        key: Path(given[key].strip("'\"")).expanduser() for key in FOLDERS if key in given and "${" not in given[key]
    }
    for key, pattern in (("hydra.run.dir", "run.json"), ("hydra.sweep.dir", "*/run.json")):
        if key in folders and any(folders[key].glob(pattern)):
            last = folders[key] / "checkpoints" / "last.ckpt"
            remedy = f"ckpt_path={last} resumes it in a new folder" if last.exists() else "give another folder"
            raise UserError(f"{key}={folders[key]}: holds a run already, which is never overwritten; {remedy}")
    root = folders.get("paths.root_dir", Path(os.environ["SHIFTADDAUG_ROOT"]))
    folders.setdefault("paths.log_dir", root / "logs")
    for key, folder in folders.items():
        existing = folder.absolute()
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir() or not _writable(existing):
            raise UserError(f"{key}={folder}: cannot write there ({existing} is not a writable folder)")
    folders["paths.log_dir"].mkdir(parents=True, exist_ok=True)  # a sweep's study is opened before any run


def _writable(folder: Path) -> bool:
    """Whether a folder can be written to; tried, since permission bits mean nothing to root or on read-only disks."""
    probe = folder / f".write-probe-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


@contextmanager
def importing_torch() -> Iterator[None]:
    """Keep the garbage collector away from what is imported here, now and later: all of it stays.

    Looking it through takes a fifth of the time of importing torch and lightning. Nothing is done where torch was
    imported before.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
        atexit.register(gc.unfreeze)  # extension modules that count what they leave behind would complain
    finally:
        gc.enable()


def quieten_lightning() -> None:
    """Leave out what says nothing about this run: tips, absent devices, advice on loader workers."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in ("does not have many workers", "exists and is not empty", "LeafSpec", "smaller than the logging"):
        warnings.filterwarnings("ignore", f".*{message}.*")
