"""Docstrings are there, begin with a verb or a noun, and end in a full stop; read from the syntax tree alone."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "shiftaddaug"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

NO_OPENING = re.compile(
    "(the same|after|also|and|as|at|because|before|besides?|between|but|by|called|composed|else|for|from|if|in|into"
    "|its?|kept|like|nor|nothing|of|off|on|or|see|so|than|that|their|them|these|they|this|those|too?|under|unless|unlike"
    "|with|within|without)\\b",
    re.IGNORECASE,
)
"""Words that begin no docstring: one that begins so is read as the rest of a sentence that its name began."""


def documented(node: ast.AST, path: str, public: bool = True) -> Iterator[tuple[str, Documented, bool]]:
    """Every module, class and function with its place, and whether it needs a docstring.

    A method of a class that has bases may inherit the docstring of the method that it overrides.
    """
    if isinstance(node, ast.Module):
        yield path, node, True
    inherits = isinstance(node, ast.ClassDef) and bool(node.bases)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        named = public and not child.name.startswith("_")
        own = isinstance(child, ast.ClassDef) or not inherits
        yield f"{path}:{child.lineno} {child.name}", child, named and own
        if isinstance(child, ast.ClassDef):
            yield from documented(child, path, named)
        else:
            yield from documented(child, path, public=False)


def values(tree: ast.Module, path: str) -> Iterator[tuple[str, str]]:
    """Every constant and field that has a string below it, with that string."""
    for node in ast.walk(tree):
        body = node.body if isinstance(node, ast.Module | ast.ClassDef) else []
        for assigned, below in pairwise(body):
            value = below.value if isinstance(below, ast.Expr) else None
            text = value.value if isinstance(value, ast.Constant) else None
            if isinstance(assigned, ast.Assign | ast.AnnAssign) and isinstance(text, str):
                yield f"{path}:{below.lineno}", text


def opening(docstring: str) -> str:
    return " ".join(docstring.split()[:2])


def mistakes(source: str, path: str) -> list[str]:
    tree = ast.parse(source)
    found = [f"{place}: begins with {opening(text)!r}" for place, text in values(tree, path) if NO_OPENING.match(text)]
    for place, node, needed in documented(tree, path):
        docstring = ast.get_docstring(node)
        if docstring is None:
            found += [f"{place}: no docstring"] if needed else []
            continue
        summary = docstring.split("\n\n")[0]
        if NO_OPENING.match(docstring):
            found.append(f"{place}: begins with {opening(docstring)!r}")
        if not summary.rstrip().endswith((".", ":")):
            found.append(f"{place}: ends with {summary[-20:]!r}")
    return found


def test_docstrings_are_readable_by_themselves() -> None:
    assert [line for module in MODULES for line in mistakes((PACKAGE / module).read_text(), module)] == []


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("", "m.py: no docstring"),
        ('"""Of a net."""', "m.py: begins with 'Of a'"),
        ('"""The same again."""', "m.py: begins with 'The same'"),
        ('"""Cost of a net"""', "m.py: ends with 'Cost of a net'"),
        ('"""A."""\n\ndef cost(): ...', "m.py:3 cost: no docstring"),
        ('"""A."""\n\nclass Cost:\n    """Cost."""\n    def of(self): ...', "m.py:5 of: no docstring"),
        ('"""A."""\n\nLEAST = 3\n"""Of the sides."""', "m.py:4: begins with 'Of the'"),
        ('"""A."""\n\ndef _cost():\n    """Than before."""', "m.py:3 _cost: begins with 'Than before.'"),
    ],
)
def test_a_mistake_is_seen(source: str, wanted: str) -> None:
    assert mistakes(source, "m.py") == [wanted]


def test_what_is_overridden_or_private_needs_none() -> None:
    source = '"""A."""\n\nclass Mine(Base):\n    """Mine."""\n    def step(self): ...\n\ndef _own(): ...'
    assert mistakes(source, "m.py") == []
