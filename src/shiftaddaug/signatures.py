"""What the source of a `_target_` says of it: its arguments, and constants of its class. Imports nothing of it.

Importing torch and lightning takes seconds; their sources say in milliseconds which arguments a class takes.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shiftaddaug import settings
from shiftaddaug.errors import UserError

DEEPEST = 12
"""Imports and base classes that are followed before a name counts as unknown."""


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
        file = _file_of(path)
    except UserError:
        raise UserError(f"_target_={target}: no such package as {path.partition('.')[0] or target}") from None
    if file is None:
        return None
    found = _find(file, name, DEEPEST)
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
        file = _file_of(module)
    except UserError:
        return None
    found = None if file is None else _find(file, class_name, DEEPEST)
    lineage = _lineage(found[0], found[1], DEEPEST) if found and isinstance(found[0], ast.ClassDef) else ()
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
    tree = _tree(file)
    if tree is None or name in _names(tree):
        return
    dynamic = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
    starred = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree))
    if not (dynamic or starred):
        public = {each.lower(): each for each in _names(tree) if not each.startswith("_")}
        near = get_close_matches(name.lower(), public, n=1)
        classes = sorted(each for each in public.values() if each[0].isupper() and not each.isupper())
        options = ", ".join([*classes[:20], *(["..."] if len(classes) > 20 else [])])
        hint = f"; did you mean {public[near[0]]}?" if near else f"; options: {options}" if options else ""
        raise UserError(f"_target_={module}.{name}: no such class or function{hint}")


def _names(tree: ast.Module) -> set[str]:
    """Return the names that a module defines or imports, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _file_of(module: str) -> Path | None:
    """Return the source of a module, whose packages are not imported."""
    top, *rest = module.split(".") if module else [""]
    try:
        spec = find_spec(top) if top else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise UserError(f"_target_={module}: no such package")
    if not spec.submodule_search_locations:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") and not rest else None
    folder = Path(next(iter(spec.submodule_search_locations)))
    for part in rest:
        folder = folder / part
    for file in (folder / "__init__.py", folder.with_suffix(".py")):
        if file.exists():
            return file
    return None


@lru_cache(maxsize=64)
def _tree(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


Found = tuple[ast.ClassDef | ast.FunctionDef, Path]


def _find(file: Path, name: str, depth: int) -> Found | None:
    """Return the definition of a name in a module, or in one that it is imported from."""
    if depth == 0:
        return None
    defined, imports = _contents(file)
    if name in defined:
        return defined[name], file
    if name not in imports:
        return None
    node, original = imports[name]
    source = _imported(file, node)
    return None if source is None else _find(source, original, depth - 1)


Definitions = dict[str, ast.ClassDef | ast.FunctionDef]
Imports = dict[str, tuple[ast.ImportFrom, str]]


@lru_cache(maxsize=64)
def _contents(file: Path) -> tuple[Definitions, Imports]:
    """Return what a module defines at its top level, and what it imports, with the name that it had."""
    tree = _tree(file)
    defined: Definitions = {}
    imports: Imports = {}
    for node in () if tree is None else _statements(tree.body):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                imports.setdefault(alias.asname or alias.name, (node, alias.name))
    for node in () if tree is None else tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined.setdefault(node.name, node)
    return defined, imports


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under a condition too, such as `if TYPE_CHECKING`."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(node.body)
            yield from _statements(node.orelse)
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _statements(handler.body)


def _imported(file: Path, node: ast.ImportFrom) -> Path | None:
    """Return the source of the module that an import reads."""
    if node.level == 0:
        try:
            return _file_of(node.module or "")
        except UserError:
            return None
    folder = file.parent
    for _ in range(node.level - 1):
        folder = folder.parent
    for part in (node.module or "").split("."):
        folder = folder / part if part else folder
    for source in (folder / "__init__.py", folder.with_suffix(".py")):
        if source.exists():
            return source
    return None


def _signature(node: ast.ClassDef | ast.FunctionDef, file: Path, depth: int) -> Signature | None:
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, file, skip=0)
    lineage = list(_lineage(node, file, depth))
    made = next(filter(None, (_own_signature(i, lineage) for i in range(len(lineage)))), None)
    settings = next(filter(None, (_settings_of(each, where, depth) for each, where in lineage)), None)
    if made is None or not made.open or settings is None:
        return made
    (kind, where), imported_as = settings
    keys = _of_fields(list(_lineage(kind, where, depth)))
    arguments = {**made.arguments, **keys.arguments}
    required = (*made.required, *(key for key in keys.required if key not in made.arguments))
    return Signature(arguments, required, open=False, settings=imported_as)


Class = tuple[ast.ClassDef, Path]


def _lineage(node: ast.ClassDef, file: Path, depth: int) -> Iterator[Class]:
    """A class and those of its bases whose source is found, the nearest first."""
    yield node, file
    for base in node.bases:
        found = _find(file, base.id, depth - 1) if isinstance(base, ast.Name) and depth else None
        if found is not None and isinstance(found[0], ast.ClassDef):
            yield from _lineage(found[0], found[1], depth - 1)


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
            found = _find(file, name, depth)
            if found is not None and isinstance(found[0], ast.ClassDef) and _is_dataclass(found[0]):
                return (found[0], found[1]), _imported_as(file, name)
    return None


def _imported_as(file: Path, name: str) -> str | None:
    tree = _tree(file)
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
        tree = _tree(self.file)
        if tree is None or self.depth == 0 or not _may_state_ranges(tree):
            raise KeyError(name)
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return eval(ast.unparse(node.value), {"__builtins__": {}}, _Names(self.file, self.depth - 1))
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    source = _imported(self.file, node) if (alias.asname or alias.name) == name else None
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
