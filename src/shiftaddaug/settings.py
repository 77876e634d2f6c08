"""Types and ranges of settings, and the line that answers a value outside of them. Imports no torch.

A setting's type is written once, where it is used: in the signature of what a configuration names with `_target_`
(`signatures.py` reads it without importing anything), or as a field of a frozen dataclass for a group of plain keys.
msgspec checks the values; what they should be is said in words made of the same annotation.

    def __init__(self, every_n_epochs: PositiveInt = 1, until: Share = 1.0) -> None: ...
"""

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from shiftaddaug.errors import UnknownKey, UserError
from shiftaddaug.words import meant

Function = TypeVar("Function", bound=Callable[..., Any])
Settings = TypeVar("Settings")

MOST = 2**31 - 1
"""Largest whole number of any setting: torch and numpy take no seed or size beyond it everywhere."""

ODD = {"odd": True}
"""What an annotation says besides limits: `Meta(ge=1, extra=ODD)`."""

PositiveInt = Annotated[int, Meta(ge=1, le=MOST)]
Count = Annotated[int, Meta(ge=0, le=MOST)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Number = Annotated[float, Meta()]
PositiveNumber = Annotated[float, Meta(gt=0)]
NonNegativeNumber = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
InnerShare = Annotated[float, Meta(gt=0, lt=1)]
ShareBelowOne = Annotated[float, Meta(ge=0, lt=1)]
Weight = Annotated[float, Meta(ge=0, le=10**6)]
"""Factor on a term of the loss."""
Scale = Annotated[float, Meta(ge=1e-6, le=10**6)]
"""Size of weights, or of what is compared with them."""
PathName = Annotated[str, Meta(min_length=1, title="a path")]
CheckpointPath = Annotated[PathName | int, Meta(title="a path")]
"""A file or folder may be named by a number."""
PluginNames = Annotated[list[str], Meta(title="a list of importable packages, such as [my_operators]")]
Tags = Annotated[list[str], Meta(title="a list of words, such as [first,wider]")]
Order = Literal["shallow_to_deep", "deep_to_shallow"]
Granularity = Literal["layer", "block"]

NAMESPACE = {
    **{name: getattr(typing, name) for name in ("Annotated", "Any", "Callable", "Literal", "Optional", "Union")},
    **{"Path": Path, "_PATH": str | Path},  # the latter is Lightning's
    **{"Iterable": Iterable, "Mapping": Mapping, "Sequence": Sequence, "List": list, "Dict": dict},
}
"""What annotations are made of, besides the names of this module and built-in types."""


def check(key: str, value: Any, annotation: Any) -> None:
    """Refuse a value that an annotation does not allow.

    Args:
        key: as the user types it.
        value: a plain value or container.
        annotation: a type of this module or of typing; what it says nothing of is allowed.

    Raises:
        UserError: naming the key, the value and what it may be.
    """
    if not allows(annotation, value):
        limited = isinstance(value, int) and value > MOST and _is_below_most(annotation)
        raise UserError(f"{key}={shown(value)}: {wanted(annotation)}{f', at most {MOST}' if limited else ''}")


def checked(key: str) -> Callable[[Function], Function]:
    """Return a decorator of a function that checks its arguments against its annotations, as settings of a group.

    Args:
        key: of the group, such as callbacks.reorder.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checking(*arguments: Any, **named: Any) -> Any:
            hints = typing.get_type_hints(function, include_extras=True)
            for name, value in signature.bind(*arguments, **named).arguments.items():
                if name in hints:
                    check(f"{key}.{name}", value, hints[name])
            return function(*arguments, **named)

        return typing.cast(Function, checking)

    return decorate


def check_fields(key: str, settings: Any) -> None:
    """Check a dataclass's values against its fields' annotations.

    Args:
        key: of the group.
        settings: an instance.

    Raises:
        UserError: the first value outside its range.
    """
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        check(f"{key}.{field.name}", getattr(settings, field.name), hints[field.name])


def shown(value: Any) -> str:
    """Return a value as one writes it on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}: {shown(each)}' for key, each in value.items())}}}"
    return str(value)


def allows(annotation: Any, value: Any) -> bool:
    """Whether an annotation allows a value. A number with a range is finite."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(allows(argument, value) for argument in arguments)
    if origin in LISTS and isinstance(value, list | tuple) and arguments[1:] in ((), (...,)):
        return all(allows(arguments[0], each) for each in value)
    if isinstance(value, float) and not math.isfinite(value) and annotation is float:
        return True  # a foreign signature may mean it
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return False
    except TypeError:  # what msgspec does not know: a class among others
        pass
    if origin is not Annotated:
        return True
    finite = not isinstance(value, float) or math.isfinite(value)
    return finite and allows(arguments[0], value) and (not _is_odd(annotation) or value % 2 == 1)


LISTS = (list, tuple, Sequence, Iterable)


def _metas(annotation: Any) -> list[Meta]:
    return [meta for meta in getattr(annotation, "__metadata__", ()) if isinstance(meta, Meta)]


def _is_below_most(annotation: Any) -> bool:
    parts = (annotation, *get_args(annotation))
    return any(meta.le == MOST for part in parts for meta in _metas(part))


def _is_odd(annotation: Any) -> bool:
    return any("odd" in (meta.extra or {}) for meta in _metas(annotation))


def wanted(annotation: Any) -> str:
    """Return what a value must be, as the end of a sentence."""
    options = _options(annotation)
    if options is not None:
        return f"no such option; options: {', '.join(options)}"
    return f"must be {_words(annotation)}"


def _options(annotation: Any) -> list[str] | None:
    """Return the options of a choice, if it is nothing else."""
    if get_origin(annotation) is Literal:
        return [shown(option) for option in get_args(annotation)]
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [["null"] if part is type(None) else _options(part) for part in get_args(annotation)]
        if all(part is not None for part in parts) and any(part != ["null"] for part in parts):
            return [option for part in parts if part is not None for option in part]
    return None


PLURALS = {Any: "values", int: "whole numbers", float: "numbers", str: "words", bool: "true or false"}
SINGULARS = {
    Any: "a value",
    int: "a whole number",
    float: "a number",
    str: "a word",
    bool: "true or false",
    Path: "a path",
    type(None): "null",
}


def _words(annotation: Any, plural: bool = False) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        parts = sorted(arguments, key=lambda part: part is type(None))
        return " or ".join(dict.fromkeys(_words(part, plural) for part in parts))
    if origin is Literal:
        return " or ".join(map(shown, arguments))
    if origin is Annotated:
        return _words_of_range(annotation, plural)
    if origin is dict or annotation is dict:
        return "groups of keys" if plural else "a group of keys"
    if origin in LISTS:
        return f"a list of {_words(arguments[0], plural=True)}"
    names = PLURALS if plural else SINGULARS
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _words_of_range(annotation: Any, plural: bool) -> str:
    titles = [meta.title for meta in _metas(annotation) if meta.title]
    if titles and not plural:
        return titles[0]
    words = _words(get_args(annotation)[0], plural)
    if _is_odd(annotation):
        words = words.replace("a whole", "an odd").replace("whole", "odd")
    return " ".join([words, *filter(None, map(_limits, _metas(annotation)))])


def _limits(meta: Meta) -> str:
    """Return the limits, such as `> 0 and <= 1`."""
    limits = {">": meta.gt, ">=": meta.ge, "<": meta.lt, "<=": None if meta.le == MOST else meta.le}
    return " and ".join(f"{sign} {_figure(limit)}" for sign, limit in limits.items() if limit is not None)


def _figure(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"


def check_group(key: str, values: Mapping[str, Any], schema: type[Settings], more: Collection[str] = ()) -> Settings:
    """Return a group's settings; refuse unknown keys, absent ones, and values outside their range.

    Args:
        key: of the group; empty for the top level.
        values: the group's keys, as plain containers.
        schema: a dataclass whose fields are the keys.
        more: keys that others check; the settings do not have them.

    Raises:
        UserError: the first mistake.
    """
    hints = typing.get_type_hints(schema, include_extras=True)
    if not isinstance(values, Mapping):
        raise UserError(f"{key}={shown(values)}: must be a group of keys")
    known = {field.name: field for field in fields(schema)}  # type: ignore[arg-type]
    start = f"{key}." if key else ""
    for name, value in values.items():
        if name not in known and name not in more:
            raise UnknownKey(f"{start}{name}", shown(value), options_near(name, [*known, *more], start))
        if name in known:
            check(f"{start}{name}", value, hints[name])
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{start}{name}: is missing; {wanted(hints[name])}")
    return schema(**{name: value for name, value in values.items() if name in known})


def options_near(name: str, options: Collection[str], start: str = "") -> str:
    """Return the options as the end of a sentence, after the one that the user may have meant."""
    keys = [f"{start}{option}" for option in options]
    near = meant(f"{start}{name}", keys)
    return f"{did_you_mean(near)}options: {', '.join(keys)}"


def did_you_mean(near: Sequence[str]) -> str:
    """Return a question that names what may have been meant; nothing if there is nothing."""
    return f"did you mean {' or '.join(near)}? " if near else ""
