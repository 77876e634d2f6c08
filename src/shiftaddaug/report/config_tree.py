"""The composed configuration as a tree, for people. Imports no torch."""

import os
from collections.abc import Mapping
from typing import Any

from shiftaddaug.report.results import print_whole
from shiftaddaug.settings import shown


def print_tree(config: Mapping[str, Any]) -> None:
    """Print a configuration as a tree; the first of several processes does so.

    Args:
        config: as plain containers, interpolations resolved.
    """
    from rich.tree import Tree

    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    tree = Tree("configuration")
    _grow(tree, config)
    print_whole(tree)


def _grow(tree: Any, node: Any) -> None:
    """Add a node's keys: first its values, then the groups in it. A list of groups has them by number."""
    keys = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in sorted(keys, key=lambda item: _is_group(item[1])):
        if _is_group(value):
            _grow(tree.add(str(key)), value)
        else:
            tree.add(f"{key}: {shown(value)}")


def _is_group(value: Any) -> bool:
    return bool(value) and (
        isinstance(value, Mapping) or (isinstance(value, list) and all(isinstance(each, Mapping) for each in value))
    )
