"""Nodes that name what is built of them (`_target_`): check them against its signature without importing it; build."""

from collections.abc import Mapping
from typing import Any, Literal

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from shiftaddaug.errors import UserError, reason_of
from shiftaddaug.settings import check, options_near, shown
from shiftaddaug.signatures import Signature, signature_of

HYDRAS = {
    "_target_": str,
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
    "_args_": list[Any],
}
"""Types of the keys that are Hydra's own."""

OURS = "shiftaddaug."
"""What the targets of this package begin with."""


def check_node(
    key: str, node: Any, ranges: Mapping[str, Any] | None = None, more: Mapping[str, Any] | None = None
) -> None:
    """Check a node, and those within it: what they name exists, and takes such arguments.

    What a source does not say is left to the moment at which it is built.

    Args:
        key: of the node.
        node: a plain container; one without `_target_` holds nodes, or plain values.
        ranges: types of arguments that say more than the signature does.
        more: types of keys that the signature does not have.

    Raises:
        UserError: the first mistake, by key.
    """
    if not isinstance(node, Mapping):
        return
    for name, value in node.items():
        check_node(f"{key}.{name}", value)
    if "_target_" not in node:
        return
    for name in node.keys() & HYDRAS.keys():
        check(f"{key}.{name}", node[name], HYDRAS[name])
    try:
        signature = signature_of(node["_target_"])
    except UserError as error:
        raise UserError(f"{key}.{error}") from None
    types = {**(ranges or {}), **(more or {})}
    for name, value in node.items():
        if name in types and not _is_made_later(value):
            check(f"{key}.{name}", value, types[name])
    if signature is not None:
        _check_arguments(key, {name: value for name, value in node.items() if name not in (more or {})}, signature)


def _check_arguments(key: str, node: Mapping[str, Any], signature: Signature) -> None:
    target = node["_target_"]
    for name, value in node.items():
        if name in HYDRAS:
            continue
        annotation = signature.arguments.get(name)
        if name not in signature.arguments and not signature.open:
            options = options_near(name, signature.arguments)
            raise UserError(f"{key}.{name}={shown(value)}: {target} takes no such argument; {options}")
        if annotation is not None and not _is_made_later(value):
            check(f"{key}.{name}", value, annotation)
    missing = [name for name in signature.required if name not in node]
    if missing and not node.get("_partial_") and "_args_" not in node:
        raise UserError(f"{key}.{missing[0]}: is missing; {target} needs it")


def _is_made_later(value: Any) -> bool:
    """Whether a value stands for another: a node, or a quantity of the run."""
    return isinstance(value, Mapping) or (isinstance(value, str) and value.startswith("run."))


def build(key: str, node: Mapping[str, Any]) -> Any:
    """Build what a node names.

    Args:
        key: of the node.
        node: that `check_node` has passed.

    Raises:
        UserError: the code that it names refuses its arguments, lacks a package, or fails in any other way.
        InstantiationException: the code is this package's, and fails otherwise than by refusing its arguments.
    """
    try:
        return instantiate(node)
    except (Exception, SystemExit) as error:  # whatever its author wrote
        reason = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if isinstance(reason, UserError):
            raise reason from error
        if str(node.get("_target_")).startswith(OURS) and not isinstance(reason, ImportError | OSError | ValueError):
            raise
        raise UserError(f"{key}: cannot be made of {node.get('_target_')} ({reason_of(reason)})") from error
