"""Types and ranges of settings, and the line that answers a value outside of them. Imports no torch.

A setting's type is written once, where it is used: in the signature of what a configuration names with `_target_`
(`signatures.py` reads it without importing anything), or as a field of a frozen dataclass for a group of plain keys.
pydantic checks the values; what they should be is said in words made of the same annotation.

    def __init__(self, every_n_epochs: PositiveInt = 1, until: Share = 1.0) -> None: ...
"""

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from shiftaddaug.errors import UserError

Init = TypeVar("Init", bound=Callable[..., None])


class Range(NamedTuple):
    """Limits of a number, as an annotation carries them."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    odd: bool = False

    def holds(self, value: float) -> bool:
        """Whether a finite number lies within."""
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
            and (not self.odd or value % 2 == 1)
        )

    def words(self) -> str:
        """Return the limits, such as `> 0 and <= 1`."""
        limits = {">": self.above, ">=": self.at_least, "<": self.below, "<=": self.at_most}
        return " and ".join(f"{sign} {_figure(limit)}" for sign, limit in limits.items() if limit is not None)


def _figure(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"


MOST = 2**31 - 1
"""Largest whole number of any setting: torch and numpy take no seed or size beyond it everywhere."""

PositiveInt = Annotated[int, Range(at_least=1, at_most=MOST)]
Count = Annotated[int, Range(at_least=0, at_most=MOST)]
Seed = Annotated[int, Range(at_least=0, at_most=2**32 - 1)]
OddInt = Annotated[int, Range(at_least=1, at_most=MOST, odd=True)]
Number = Annotated[float, Range()]
PositiveNumber = Annotated[float, Range(above=0)]
NonNegativeNumber = Annotated[float, Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Order = Literal["shallow_to_deep", "deep_to_shallow"]
Granularity = Literal["layer", "block"]
InnerShare = Annotated[float, Range(above=0, below=1)]

NAMESPACE = {
    **{name: getattr(typing, name) for name in ("Annotated", "Any", "Callable", "Literal", "Optional", "Union")},
    **{"Iterable": typing.Iterable, "Mapping": Mapping, "Sequence": typing.Sequence, "List": list, "Dict": dict},
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
        raise UserError(f"{key}={shown(value)}: {wanted(annotation)}")


def checked(key: str) -> Callable[[Init], Init]:
    """Return a decorator of an `__init__` that checks its arguments against its annotations, as settings of a group.

    Args:
        key: of the group, such as callbacks.reorder.
    """

    def decorate(init: Init) -> Init:
        signature = inspect.signature(init)

        @functools.wraps(init)
        def checking(self: Any, *arguments: Any, **named: Any) -> None:
            hints = typing.get_type_hints(init, include_extras=True)
            for name, value in signature.bind(self, *arguments, **named).arguments.items():
                if name in hints:
                    check(f"{key}.{name}", value, hints[name])
            init(self, *arguments, **named)

        return typing.cast(Init, checking)

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
    return str(value)


def allows(annotation: Any, value: Any) -> bool:
    """Whether an annotation allows a value."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(allows(argument, value) for argument in arguments)
    if origin is Annotated:
        return allows(arguments[0], value) and all(
            limit.holds(value) for limit in arguments[1:] if isinstance(limit, Range)
        )
    if origin in (list, typing.Sequence, tuple) or origin is typing.get_origin(typing.Sequence[int]):
        inner = [argument for argument in arguments if argument is not Ellipsis]
        return isinstance(value, list | tuple) and all(allows(inner[0], each) for each in value if inner)
    if annotation is float and isinstance(value, float) and not math.isfinite(value):
        return True  # a foreign signature may mean it; ours say a range
    return _adapter(annotation).allows(value)


class _Adapter:
    """One of pydantic's, made once for each annotation."""

    def __init__(self, annotation: Any) -> None:
        from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

        try:
            self.adapter: Any = TypeAdapter(annotation, config=ConfigDict(strict=True))
        except (PydanticSchemaGenerationError, PydanticUserError):  # a class that no value of a yaml is
            self.adapter = None

    def allows(self, value: Any) -> bool:
        from pydantic import ValidationError

        try:
            if self.adapter is not None:
                self.adapter.validate_python(value)
        except ValidationError:
            return False
        return True


@lru_cache(maxsize=256)
def _adapter(annotation: Any) -> _Adapter:
    return _Adapter(annotation)


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
        limits = " ".join(limit.words() for limit in arguments[1:] if isinstance(limit, Range))
        odd = any(isinstance(limit, Range) and limit.odd for limit in arguments[1:])
        words = _words(arguments[0], plural)
        words = words.replace("whole", "odd").replace("a odd", "an odd") if odd else words
        return f"{words} {limits.replace(f' and <= {MOST}', '')}".strip()
    if origin is dict or annotation is dict:
        return "groups of keys" if plural else "a group of keys"
    if origin is list or origin is tuple:
        return f"a list of {_words(arguments[0], plural=True)}"
    names = PLURALS if plural else SINGULARS
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def check_group(key: str, values: Mapping[str, Any], schema: type, more: Collection[str] = ()) -> None:
    """Refuse unknown keys of a group, absent ones, and values outside their range.

    Args:
        key: of the group; empty for the top level.
        values: the group's keys, as plain containers.
        schema: a dataclass whose fields are the keys.
        more: keys that others check.

    Raises:
        UserError: the first mistake.
    """
    hints = typing.get_type_hints(schema, include_extras=True)
    known = {field.name: field for field in fields(schema)}
    start = f"{key}." if key else ""
    for name, value in values.items():
        if name not in known and name not in more:
            options = ", ".join(f"{start}{option}" for option in known)
            raise UserError(f"{start}{name}={shown(value)}: no such key; options: {options}")
        if name in known:
            check(f"{start}{name}", value, hints[name])
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{start}{name}: is missing; {wanted(hints[name])}")
