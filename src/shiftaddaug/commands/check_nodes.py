"""Check nodes that name what is built of them (`_target_`) against its signature. Imports nothing of it."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.settings import check, shown
from shiftaddaug.signatures import Signature, signature_of

HYDRAS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")
"""Keys that are Hydra's own."""


def check_node(key: str, node: Any, more: Mapping[str, Any] | None = None) -> None:
    """Check a node, and those within it: what they name exists, and takes such arguments.

    What a source does not say is left to the moment at which it is built.

    Args:
        key: of the node.
        node: a plain container; one without `_target_` holds nodes, or plain values.
        more: types of its keys that say more than the signature does, or that the signature does not have.

    Raises:
        UserError: the first mistake, by key.
    """
    if not isinstance(node, Mapping):
        return
    for name, value in node.items():
        check_node(f"{key}.{name}", value)
    if "_target_" not in node:
        return
    target = node["_target_"]
    check(f"{key}._target_", target, str)
    try:
        signature = signature_of(target)
    except UserError as error:
        raise UserError(f"{key}.{error}") from None
    for name, value in _typed(node, more or {}).items():
        check(f"{key}.{name}", value, (more or {})[name])
    if signature is not None:
        _check_arguments(key, node, target, signature, more or {})


def _typed(node: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node[name] for name in more if name in node}


def _check_arguments(
    key: str, node: Mapping[str, Any], target: str, signature: Signature, more: Mapping[str, Any]
) -> None:
    given = {name: value for name, value in node.items() if name not in (*HYDRAS, *more)}
    for name, value in given.items():
        if name not in signature.arguments:
            if signature.open:
                continue
            near = get_close_matches(name, signature.arguments, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            options = ", ".join(signature.arguments)
            raise UserError(f"{key}.{name}={shown(value)}: {target} takes no such argument; {hint}options: {options}")
        annotation = signature.arguments[name]
        if annotation is not None and not _is_made_later(value):
            check(f"{key}.{name}", value, annotation)
    missing = [name for name in signature.required if name not in node]
    if missing and not node.get("_partial_") and "_args_" not in node:
        raise UserError(f"{key}.{missing[0]}: is missing; {target} needs it")


def _is_made_later(value: Any) -> bool:
    """Whether a value stands for another: a node, or a quantity of the run."""
    return isinstance(value, Mapping) or (isinstance(value, str) and value.startswith("run."))
