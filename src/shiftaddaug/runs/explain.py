"""One line for what does not compose, in place of what Hydra and OmegaConf say. Imports no torch."""

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from shiftaddaug.errors import UnknownKey, UserError
from shiftaddaug.runs.absolute import PATHS, whole_path
from shiftaddaug.runs.compose import (
    KEY,
    compose,
    config_dir,
    group_options,
    groups_of,
    plugin_config_dirs,
    quoted,
    text_of,
)
from shiftaddaug.runs.nearest import chosen_config, elsewhere, hint_of, options_with
from shiftaddaug.settings import did_you_mean, options_near


def compose_config(config_name: str, overrides: list[str]) -> DictConfig:
    """Compose a configuration with Hydra, within a command or outside of one.

    Raises:
        UserError: overrides that do not compose.
    """
    try:
        return compose(config_name, overrides)
    except HydraException as error:
        raise UserError(describe(error, config_name, overrides)) from error


def describe(error: Exception, config_name: str, arguments: list[str]) -> str:
    """Return one line on a mistake in the overrides `arguments` that `config_name` was composed with."""
    message = _described(error, config_name, arguments)
    for typed in filter(_names_path, arguments):  # data.data_dir is paths.data_dir, say, and was made absolute
        key = typed.lstrip("+").partition("=")[0]
        path = re.escape(whole_path(text_of(typed)))
        told = re.match(rf"[\w.]*\b{key.rpartition('.')[2]}={path}(?=[: ])", message)
        if told is not None:
            return f"{key}={text_of(typed)}{message[told.end() :]}"
    return message


def _names_path(argument: str) -> bool:
    return argument.lstrip("+").partition("=")[0] in PATHS and bool(text_of(argument))


def _described(error: Exception, config_name: str, arguments: list[str]) -> str:
    if isinstance(error, OverrideParseException):
        return _no_override(error.override)
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file is not None:
        return no_option(str(error.missing_cfg_file), config_name, arguments, error.options)
    if isinstance(error, OmegaConfBaseException):
        return _not_resolved(error, arguments, config_name)
    if isinstance(error, UnknownKey):
        return _added_key(error, config_name, arguments)
    message = " ".join(str(error).split())
    cause = error.__cause__
    unknown = re.match(r"Could not override '([^']+)'", message)
    if unknown is not None and "@" not in unknown[1]:
        return _no_such_key(str(getattr(cause, "full_key", None) or unknown[1]), config_name, arguments)
    for pattern, words in _OF_HYDRA:
        found = re.match(pattern, message)
        if found is not None:
            return words(_typed(found[1], arguments), found[1])
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _not_resolved(cause, arguments, config_name)
    return re.sub(r" See https://hydra\S+ for details", "", message)


_OF_HYDRA: tuple[tuple[str, Callable[[str, str], str]], ...] = (
    (
        r"'hydra/sweeper/(optuna)' is validated against ConfigStore",
        lambda typed, given: (
            "hydra/sweeper=optuna: is this project's own, and the package hydra-optuna-sweeper has taken the name; "
            "options: pip uninstall hydra-optuna-sweeper"
        ),
    ),
    (
        r"Could not append to config. An item is already at '([^']+)'",
        lambda typed, key: f"{typed}: there is a key {key} already; options: {typed.lstrip('+')}, without the +",
    ),
    (
        r"Multiple values for ([\w/]+)\.",
        lambda typed, key: f"{typed}: {key} is chosen already; options: {typed.lstrip('+')}, without the +",
    ),
    (
        r"Could not delete from config. '([^']+)' does not exist",
        lambda typed, key: f"{typed}: no such key to take away",
    ),
    (
        r"Could not delete from config. The value of '([^']+)' is",
        lambda typed, key: f"{typed}: {key} has another value; options: ~{key}",
    ),
    (
        r"Ambiguous value for argument '(.+?)' 1\.",
        lambda typed, given: (
            f"{given}: are several values; options: -m, a run for each; a list, {_listed(given)}; or a text, "
            f"{quoted_argument(given)}"
        ),
    ),
    (
        r"Sweep parameters '(.+)' requires",
        lambda typed, given: f"{given}: are several values; options: -m, a run for each",
    ),
)
"""What Hydra says, and what is said instead, of the argument as it was typed and of what Hydra names."""


def quoted_argument(argument: str) -> str:
    """Return an override as it is typed in a shell, its value quoted for Hydra."""
    key, _, value = argument.partition("=")
    inner = f"{key}={quoted(value)}"
    return shlex.quote(inner) if set('"$`\\!') & set(inner) else f'"{inner}"'


def no_option(path: str, config_name: str, arguments: Iterable[str], found: Sequence[str] = ()) -> str:
    """Return a message on a choice that a group does not have.

    Args:
        path: group and choice, `experiment/ablation/nothing`.
        config_name: of the command, which says what is a group that is chosen from.
        arguments: of the command; plugins that they name have options, too.
        found: options that Hydra knows of, which may be in other folders.
    """
    groups = group_options([config_dir(), *plugin_config_dirs(arguments)])
    chosen = [group for group in groups_of(config_name) if path.startswith(f"{group}/")]
    group = max(chosen, key=len, default=path.rpartition("/")[0])
    options = dict.fromkeys(name for name in found if not name.startswith("_"))
    for each, names in groups.items():
        if each == group or each.startswith(f"{group}/"):
            inside = each.removeprefix(group).lstrip("/")
            options |= dict.fromkeys(f"{inside}/{name}" if inside else name for name in names)
    value = path.removeprefix(f"{group}/")
    near = get_close_matches(value, options, n=1, cutoff=0.75)
    elsewhere = [f"{each}={value}" for each in groups_of(config_name) if value in groups.get(each, ())]
    return f"{group}={value}: no such option; {did_you_mean(near or elsewhere[:1])}options: {', '.join(options)}"


def _no_override(argument: str) -> str:
    """Return a message on what Hydra's grammar has no place for."""
    key, equals, value = argument.partition("=")
    if not equals or not key.strip("+~"):
        return f"{argument}: must be key=value, such as op=add"
    if value.startswith(("[", "{")):
        return f"{argument}: is no list or group of keys for Hydra; a text is quoted: {quoted_argument(argument)}"
    if not re.fullmatch(KEY, key):
        return (
            f"{argument}: {key} is no key; options: letters, digits, _, and dots before what is inside (net.stages.0)"
        )
    return f"{argument}: has characters that are no plain text for Hydra; quote the value: {quoted_argument(argument)}"


def _not_resolved(error: OmegaConfBaseException, arguments: Sequence[str], config_name: str) -> str:
    """Return a message on a value that is missing, or that is to be read from what is not there."""
    read = re.search(r"Interpolation key '([^']+)' not found", str(error))
    reading = [each for each in arguments if (f"${{{read[1]}}}" if read else "${") in each]
    key = str(error.full_key or "the configuration")
    typed = _typed(key, arguments)
    if typed == key and reading:  # what failed is made of what was typed
        typed = reading[-1]
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: is missing; must have a value: {key}=...{_comment_on(key, config_name)}"
    if isinstance(error, InterpolationKeyError) and read is not None:
        gone = [each for each in arguments if each.startswith("~") and f"{read[1]}.".startswith(f"{each[1:]}.")]
        remedy = f"leave out {gone[0]}" if gone else "a key that --help lists, or text without ${...}"
        return f"{typed}: reads {read[1]}, and there is no such key; options: {remedy}"
    if "Cannot merge" in str(error):
        return f"{typed}: must be of the kind that it replaces: a list, or a group of keys"
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).splitlines()[0])
    return f"{typed}: cannot be read ({reason})"


def _comment_on(key: str, config_name: str) -> str:
    """Return what the yaml of a command says of a key that has no value, after a comma; "" if it says nothing."""
    text = (config_dir() / f"{config_name}.yaml").read_text()
    comment = re.search(rf"^{re.escape(key)}: \?\?\? # (.+)$", text, re.MULTILINE)
    return f", {comment[1]}" if comment else ""


def _typed(key: str, arguments: Iterable[str]) -> str:
    """Return the last argument that sets a key, or the key."""
    return next((each for each in [*arguments][::-1] if each.lstrip("+~").partition("=")[0] == key), key)


def _listed(argument: str) -> str:
    key, _, value = argument.partition("=")
    return f"{key}=[{value}]"


def _no_such_key(key: str, config_name: str, arguments: list[str]) -> str:
    """Return a message that lists the keys where the user looked for `key`, the nearest one first."""
    if key.startswith("hydra."):
        return f"{_typed(key, arguments)}: no such key of Hydra's; options: those that --cfg hydra lists"
    if "/" in key:
        return f"{_typed(key, arguments)}: no such group; {options_near(key, groups_of(config_name))}"
    composed = node = chosen_config(config_name, arguments)
    typed = (argument.lstrip("+").partition("=")[0] for argument in arguments)
    key = next((each for each in typed if each.startswith(f"{key}.")), key)  # Hydra names what is absent of it
    parent = ""
    for part in key.split("."):
        if not OmegaConf.is_dict(node) or part not in node:
            break
        parent, node = f"{parent}{part}.", OmegaConf.select(node, part, throw_on_missing=False)
    options = [f"{parent}{name}" for name in node] if OmegaConf.is_dict(node) else []
    hint = hint_of(key, config_name, composed, arguments)
    others = options_with(key, composed)
    if others is not None:
        return f"{key}: {others}; options: {', '.join(options) or 'none'}"
    adds = f" (+{key}=... adds a new one)" if parent else elsewhere(key, config_name, arguments)
    return f"{key}: no such key; {hint}options: {', '.join(options) or 'none'}{adds}"


def _added_key(error: UnknownKey, config_name: str, arguments: list[str]) -> str:
    """Return a message on a key that was added with a +, and that nothing reads."""
    message, key = str(error), error.key
    if "did you mean" in message or not any(each.lstrip("+").startswith(f"{key}=") for each in arguments):
        return message
    hint = hint_of(key, config_name, chosen_config(config_name, arguments), arguments)
    return message.replace("no such key; ", f"no such key; {hint}", 1)
