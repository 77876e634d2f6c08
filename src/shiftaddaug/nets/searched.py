"""A net that a search has found, in a file: its table, the operator of every layer, and what it was found inside of.

`net=searched net.path=FILE` reads it. Imports no torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from shiftaddaug import operators
from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import DAMAGE, UserError, reason_of
from shiftaddaug.files import write_whole
from shiftaddaug.nets.assignment import assignment_from
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.settings import check_net
from shiftaddaug.nets.surroundings import check_surroundings
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.settings import PositiveInt, check

FORMAT = 1
"""The format of the file."""

Side = PositiveInt | Annotated[list[PositiveInt], Meta(min_length=2, max_length=2, title="[height,width]")]

OF_RUNS = ("name", "path", "mult_layers", "width_multipliers", "expand_multipliers", "init_from", "freeze_encoder")
"""Keys of a net that are no part of its shape: a table in a file need not have them."""


@dataclass(frozen=True)
class SearchedNet:
    """What a search has found."""

    table: Mapping[str, Any]
    """A net's yaml, as plain containers; of `OF_RUNS`, runs read their own."""
    operators: Mapping[str, Any]
    """Operators by label, and the layers of each: `Assignment.to_dict`."""
    surroundings: Mapping[str, Any]
    """What lies around the net in training (`nets/surroundings.py`); {} is nothing."""
    image_size: int | Sequence[int]
    """Side of the images that it was searched for, or [height, width]: costs and limits were theirs."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the search, for people and reports."""

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            UserError: it cannot be written.
        """
        write_whole(Path(path), json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")


def read_searched(path: Path | str, catalogue: Catalogue = PACKAGE_ONLY) -> SearchedNet:
    """Return the searched net that a file holds, checked.

    Args:
        path: of the file.
        catalogue: of the package and the plugins in use, whose blocks and operators it may name.

    Raises:
        UserError: there is no such file, or it holds no searched net: not json, another format, a table that no network
            can be built from, layers that its table does not have, an operator that there is not, surroundings that
            are not the table's.
    """
    file = Path(path).expanduser()
    try:
        return _read(file, catalogue)
    except UserError as error:
        raise UserError(f"net.path={path}: {error}") from None
    except OSError as error:
        options = "options: the file that a search has written"
        raise UserError(f"net.path={path}: cannot be read ({error.strerror}); {options}") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise UserError(f"net.path={path}: holds no searched net (it is no json)") from None
    except DAMAGE as error:
        raise UserError(f"net.path={path}: holds no searched net, or a damaged one ({reason_of(error, 200)})") from None


def _read(file: Path, catalogue: Catalogue) -> SearchedNet:
    raw = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(raw, dict) or "format" not in raw:
        raise ValueError("it states no format")
    if raw["format"] != FORMAT:
        raise UserError(f"is of format {raw['format']}, and this version reads {FORMAT}")
    groups = {key: _group(raw, key) for key in ("table", "operators", "surroundings", "found")}
    check("image_size", raw["image_size"], Side)
    searched = SearchedNet(**groups, image_size=raw["image_size"])
    plan = _plan(searched, catalogue)
    _check_operators(searched.operators, plan, catalogue)
    check_surroundings("surroundings", searched.surroundings, plan)
    return searched


def _group(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    if not isinstance(raw[key], dict):
        raise TypeError(f"{key} is no group of keys")
    return raw[key]


def _plan(searched: SearchedNet, catalogue: Catalogue) -> Plan:
    """Return the plan of the table, if it is one.

    Raises:
        UserError: it is none.
    """
    check_net({"name": "searched", **searched.table}, catalogue)
    return plan_net(searched.table, 2, 3, searched.image_size, catalogue)


def _check_operators(raw: Mapping[str, Any], plan: Plan, catalogue: Catalogue) -> None:
    """Refuse operators that there are not, and layers that the table does not have.

    Raises:
        UserError: naming one.
    """
    assignment_from(raw, plan, lambda config: operators.settings_from(config, catalogue))
