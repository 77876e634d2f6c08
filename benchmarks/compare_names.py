"""What the compared checkouts call by different names. Imports nothing but the standard library.

Whoever renames something states it here, so that the comparison of an older checkout with this one goes on. A table may
be emptied once no older checkout is compared any more.
"""

import re
from collections.abc import Mapping

STATE, SPACES, RESULTS = "state", "spaces", "results"
"""Kinds of names: keys of the task's state dict and of a deployed target; spaces; keys of results.json and metrics."""

CONFIG: dict[str, str] = {}
"""Keys of the configuration, old to new. A key stands for all keys below it, too."""

RENAMED: dict[str, dict[str, str]] = {STATE: {}, SPACES: {}, RESULTS: {}}
"""By kind: regular expressions that find a part of an old name, and what the new name has there."""

LEFT_OUT: dict[str, list[str]] = {
    STATE: [],
    SPACES: [],
    RESULTS: [
        r"operations",  # by kind, which operators state since each has its own folder
        r"idle",  # why callbacks have nothing to do, which they state since they carry their order
        r"task|headline|figures",  # what the other numbers are, which runs state since there are several tasks
    ],
}
"""By kind: regular expressions of whole new names that are not compared, each with a comment that says why."""


def new_name(kind: str, name: str, renamed: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return what the new checkout calls that which the old one calls `name`."""
    for found, replacement in (RENAMED if renamed is None else renamed)[kind].items():
        name = re.sub(found, replacement, name)
    return name


def is_left_out(kind: str, name: str, left_out: Mapping[str, list[str]] | None = None) -> bool:
    """Whether the new name is not compared."""
    return any(re.fullmatch(pattern, name) for pattern in (LEFT_OUT if left_out is None else left_out)[kind])


def old_override(override: str, config: Mapping[str, str] | None = None) -> str:
    """Translate an override for the old checkout: `new.key=1` becomes `old.key=1`."""
    prefix, key, rest = re.fullmatch(r"([+~]*)([^=]*)(.*)", override, re.DOTALL).groups()  # type: ignore[union-attr]
    for old, new in (CONFIG if config is None else config).items():
        if key == new or key.startswith(f"{new}."):
            return f"{prefix}{old}{key.removeprefix(new)}{rest}"
    return override
