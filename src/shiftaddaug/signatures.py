"""What the source of a `_target_` says of it: its arguments, and constants of its class. Imports nothing of it.

Importing torch and lightning takes seconds; their sources say in milliseconds which arguments a class takes.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from shiftaddaug import settings
from shiftaddaug.errors import UserError
from shiftaddaug.sources import DEEPEST, Class, file_of, find, imported_from, lineage_of, names_in, tree_of


@dataclass(frozen=True)
class Signature:
    """Arguments that can be given by name."""

    arguments: Mapping[str, Any]
    """Annotation by name; None where it says nothing that can be checked."""
    required: tuple[str, ...]
    open: bool
    """Whether it takes any other argument, too."""
    settings: str | None = None
    """Dotted path of the dataclass whose fields are among the arguments, if it is imported from another module."""


@lru_cache(maxsize=256)
def signature_of(target: str) -> Signature | None:
    """Return the signature of a class or function by its dotted path; None where its source does not say.

    Raises:
        UserError: there is no such package, module or name.
    """
    path, _, name = target.rpartition(".")
    try:
        file = file_of(path)
    except UserError:
        raise UserError(f"_target_={target}: no such package as {path.partition('.')[0] or target}") from None
    if file is None:
        return None
    found = find(file, name, DEEPEST)
    if found is None:
        _refuse_unknown(file, path, name)
        return None
    return _signature(*found, DEEPEST)


@lru_cache(maxsize=256)
def class_constant(target: str, name: str) -> Any:
    """Return the constant that a class, or the nearest of its bases, gives a name; None where no source says so.

    Args:
        target: dotted path of the class.
        name: of a class attribute whose value is written down: `only_watches = True`.
    """
    module, _, class_name = target.rpartition(".")
    try:
        file = file_of(module)
    except UserError:
        return None
    found = None if file is None else find(file, class_name, DEEPEST)
    lineage = lineage_of(found[0], found[1], DEEPEST) if found and isinstance(found[0], ast.ClassDef) else ()
    return next((value for node, _ in lineage if (value := _constant(node, name)) is not None), None)


def _constant(node: ast.ClassDef, name: str) -> Any:
    for member in node.body:
        targets = member.targets if isinstance(member, ast.Assign) else [getattr(member, "target", None)]
        if any(isinstance(each, ast.Name) and each.id == name for each in targets):
            value = getattr(member, "value", None)
            return value.value if isinstance(value, ast.Constant) else None
    return None


def _refuse_unknown(file: Path, module: str, name: str) -> None:
    """Refuse a name that a module does not have, where its source says all names that it has."""
    tree = tree_of(file)
    if tree is None or name in names_in(tree):
        return
    dynamic = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
    starred = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree))
    if not (dynamic or starred):
        public = {each.lower(): each for each in names_in(tree) if not each.startswith("_")}
        near = get_close_matches(name.lower(), public, n=1)
        classes = sorted(each for each in public.values() if each[0].isupper() and not each.isupper())
        options = ", ".join([*classes[:20], *(["..."] if len(classes) > 20 else [])])
        hint = f"; did you mean {public[near[0]]}?" if near else f"; options: {options}" if options else ""
        raise UserError(f"_target_={module}.{name}: no such class or function{hint}")


def _signature(node: ast.ClassDef | ast.FunctionDef, file: Path, depth: int) -> Signature | None:
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, file, skip=0)
    lineage = list(lineage_of(node, file, depth))
    made = next(filter(None, (_own_signature(i, lineage) for i in range(len(lineage)))), None)
    settings = next(filter(None, (_settings_of(each, where, depth) for each, where in lineage)), None)
    if made is None or not made.open or settings is None:
        return made
    (kind, where), imported_as = settings
    keys = _of_fields(list(lineage_of(kind, where, depth)))
    arguments = {**made.arguments, **keys.arguments}
    required = (*made.required, *(key for key in keys.required if key not in made.arguments))
    return Signature(arguments, required, open=False, settings=imported_as)


def _own_signature(place: int, lineage: Sequence[Class]) -> Signature | None:
    """Signature that the class at a place of a lineage states: by a constructor, or as a dataclass."""
    node, file = lineage[place]
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return _of_function(member, file, skip=1)
    return _of_fields(lineage[place:]) if _is_dataclass(node) else None


def _is_dataclass(node: ast.ClassDef) -> bool:
    names = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    return any(ast.unparse(name) in ("dataclass", "dataclasses.dataclass") for name in names)


def _settings_of(node: ast.ClassDef, file: Path, depth: int) -> tuple[Class, str | None] | None:
    """Dataclass whose fields a class takes as its `**keys`: it annotates its attribute `settings` with it.

    Returns:
        The dataclass and its dotted path; None as the path if it stands in the same file.
    """
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and ast.unparse(member.target) == "settings":
            name = ast.unparse(member.annotation).strip("'")
            found = find(file, name, depth)
            if found is not None and isinstance(found[0], ast.ClassDef) and _is_dataclass(found[0]):
                return (found[0], found[1]), _imported_as(file, name)
    return None


def _imported_as(file: Path, name: str) -> str | None:
    tree = tree_of(file)
    for node in tree.body if tree else ():
        for alias in node.names if isinstance(node, ast.ImportFrom) and node.level == 0 else ():
            if (alias.asname or alias.name) == name:
                return f"{node.module}.{alias.name}"  # type: ignore[attr-defined]
    return None


def _of_fields(lineage: Sequence[Class]) -> Signature:
    """Signature of a dataclass: its fields, and those of the dataclasses that it inherits from."""
    arguments: dict[str, Any] = {}
    optional: dict[str, bool] = {}
    for node, file in reversed(lineage):
        for member in node.body if _is_dataclass(node) else ():
            if isinstance(member, ast.AnnAssign) and not ast.unparse(member.annotation).startswith("ClassVar"):
                name = ast.unparse(member.target)
                arguments[name] = _annotation(member.annotation, file)
                optional[name] = member.value is not None
    return Signature(arguments, tuple(name for name in arguments if not optional[name]), open=False)


def _of_function(node: ast.FunctionDef, file: Path, skip: int) -> Signature:
    positional = [*node.args.posonlyargs, *node.args.args][skip:]
    bare = len(positional) - len(node.args.defaults)
    required = [argument.arg for argument in positional[: max(0, bare)]]
    required += [a.arg for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d is None]
    arguments = {a.arg: _annotation(a.annotation, file) for a in (*positional, *node.args.kwonlyargs)}
    return Signature(arguments, tuple(required), node.args.kwarg is not None)


def _annotation(node: ast.expr | None, file: Path) -> Any:
    """Evaluate an annotation that is made of built-in types, typing, and types like those of `settings`; else None."""
    if node is None:
        return None
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)
    try:
        return eval(text, {"__builtins__": {}}, _Names(file))
    except (NameError, TypeError, AttributeError, SyntaxError, ValueError):
        return None


class _Names(dict[str, Any]):
    """What the names of a source mean in its annotations.

    A name that the source assigns or imports is looked up only where it may be a range: in sources that import from
    this package or from msgspec. Others would have half of torch read.
    """

    def __init__(self, file: Path, depth: int = DEEPEST) -> None:
        known = {name: value for name, value in vars(settings).items() if not name.startswith("_")}
        super().__init__(_TYPES | known | settings.NAMESPACE)
        self.file, self.depth = file, depth

    def __missing__(self, name: str) -> Any:
        tree = tree_of(self.file)
        if tree is None or self.depth == 0 or not _may_state_ranges(tree):
            raise KeyError(name)
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return eval(ast.unparse(node.value), {"__builtins__": {}}, _Names(self.file, self.depth - 1))
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    source = imported_from(self.file, node) if (alias.asname or alias.name) == name else None
                    if source is not None:
                        return _Names(source, self.depth - 1)[alias.name]
        raise KeyError(name)


def _may_state_ranges(tree: ast.Module) -> bool:
    modules = (node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom))
    return any(module.split(".")[0] in (__package__, "msgspec") for module in modules)


_TYPES = {kind.__name__: kind for kind in (bool, int, float, str, list, dict, tuple, set, type(None))} | {
    "None": None,
    "object": object,
}
