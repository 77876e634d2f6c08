"""Read the source of modules without importing them: where a name is defined, and what a class inherits from."""

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from shiftaddaug.errors import UserError

DEEPEST = 12
"""Imports and base classes that are followed before a name counts as unknown."""

Class = tuple[ast.ClassDef, Path]
Found = tuple[ast.ClassDef | ast.FunctionDef, Path]
"""A definition, and the file that holds it."""

Definitions = dict[str, ast.ClassDef | ast.FunctionDef]
Imports = dict[str, tuple[ast.ImportFrom, str]]


def names_in(tree: ast.Module) -> set[str]:
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


def file_of(module: str) -> Path | None:
    """Return the source of a module, whose packages are not imported; None where there is none to read.

    Raises:
        UserError: there is no such package.
    """
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
def tree_of(file: Path) -> ast.Module | None:
    """Return a parsed source; None if it cannot be read."""
    try:
        return ast.parse(file.read_text())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def find(file: Path, name: str, depth: int) -> Found | None:
    """Return the definition of a name in a module, or in one that it is imported from."""
    if depth == 0:
        return None
    defined, imports = _contents(file)
    if name in defined:
        return defined[name], file
    if name not in imports:
        return None
    node, original = imports[name]
    source = imported_from(file, node)
    return None if source is None else find(source, original, depth - 1)


@lru_cache(maxsize=64)
def _contents(file: Path) -> tuple[Definitions, Imports]:
    """Return what a module defines at its top level, and what it imports, with the name that it had."""
    tree = tree_of(file)
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
    """Yield the statements of a module, those under a condition too, such as `if TYPE_CHECKING`."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(node.body)
            yield from _statements(node.orelse)
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _statements(handler.body)


def imported_from(file: Path, node: ast.ImportFrom) -> Path | None:
    """Return the source of the module that an import reads."""
    if node.level == 0:
        try:
            return file_of(node.module or "")
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


def lineage_of(node: ast.ClassDef, file: Path, depth: int) -> Iterator[Class]:
    """Yield a class and those of its bases whose source is found, the nearest first."""
    yield node, file
    for base in node.bases:
        found = find(file, base.id, depth - 1) if isinstance(base, ast.Name) and depth else None
        if found is not None and isinstance(found[0], ast.ClassDef):
            yield from lineage_of(found[0], found[1], depth - 1)
