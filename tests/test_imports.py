"""Imports go one way (docs: the order of the folders), and reading a configuration imports no torch."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
PACKAGE = "shiftaddaug"

ORDER = (
    "kernels",
    "operators",
    "hybrid",
    "nets",
    "callbacks",
    "tasks",
    "data",
    "hardware",
    "nas",
    "deploy",
    "interop",
    "report",
    "runs",
    "search",
    "commands",
)
"""A folder may import itself and those before it."""

FOR_ALL = (
    "errors",
    "files",
    "settings",
    "sources",
    "signatures",
    "hydra_nodes",
    "seeding",
    "catalogue",
    "terminal",
    "words",
)
"""Modules beside the folders, which import none of them."""

FACE = "__init__.py"
"""What `import shiftaddaug` gives to others: it imports any folder, once that is asked for."""


def modules() -> list[str]:
    return sorted(str(path.relative_to(SRC / PACKAGE)) for path in (SRC / PACKAGE).rglob("*.py"))


def imported(source: str, module: str) -> Iterator[str]:
    """Full names of everything imported anywhere in the source, in functions and type-checking blocks too.

    Args:
        source: of the module.
        module: its path inside the package.
    """
    package = [PACKAGE, *Path(module).parent.parts]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def folders_imported(source: str, module: str) -> set[str]:
    """Folders and top-level modules of the package that the source imports."""
    names = (name.split(".") for name in imported(source, module))
    return {parts[1] for parts in names if parts[0] == PACKAGE and len(parts) > 1} - {"__version__"}


def mistakes(source: str, module: str) -> set[str]:
    """What the module at this path must not import, of what it imports."""
    folder = module.split("/")[0]
    if folder == FACE:
        return set()
    allowed = set(FOR_ALL)
    if folder in ORDER:
        allowed |= set(ORDER[: ORDER.index(folder) + 1])
    return folders_imported(source, module) - allowed


def test_a_module_imports_only_folders_above_its_own() -> None:
    found = {module: mistakes((SRC / PACKAGE / module).read_text(), module) for module in modules()}
    assert {module: folders for module, folders in found.items() if folders} == {}


def test_every_folder_has_its_place() -> None:
    top = {module.split("/")[0] for module in modules()}
    assert top - {"__init__.py", *(f"{name}.py" for name in FOR_ALL)} <= set(ORDER)
    assert {"kernels", "nets", "commands"} <= top


@pytest.mark.parametrize(
    ("module", "line", "wanted"),
    [
        ("operators/a.py", "from shiftaddaug.hybrid.layers import Widths", {"hybrid"}),
        ("operators/a.py", "from shiftaddaug import errors, nets", {"nets"}),
        ("operators/a.py", "import shiftaddaug.nets.plan as plan", {"nets"}),
        ("operators/a.py", "def f():\n    from shiftaddaug.tasks import schedule", {"tasks"}),
        ("operators/a.py", "from ..hybrid import layers", {"hybrid"}),
        ("operators/a.py", "from .. import hybrid", {"hybrid"}),
        ("operators/a.py", "from . import base\nfrom .base import Operator", set()),
        ("kernels/add/a.py", "from ...operators import base", {"operators"}),
        ("kernels/add/a.py", "from .naive import f\nfrom .. import shift", set()),
        ("commands/a.py", "from shiftaddaug.report import results\nimport torch.nn", set()),
        ("report/a.py", "from shiftaddaug.commands import train", {"commands"}),
        ("errors.py", "from shiftaddaug.nets import plan", {"nets"}),
    ],
)
def test_a_wrong_import_is_seen(module: str, line: str, wanted: set[str]) -> None:
    assert mistakes(line, module) == wanted


def test_a_configuration_is_read_and_checked_without_torch() -> None:
    names = (
        "shiftaddaug",
        "shiftaddaug.commands.train",
        "shiftaddaug.runs.settings",
        "shiftaddaug.runs.eval_settings",
        "shiftaddaug.nets.tables",
        "shiftaddaug.search.target",
    )
    script = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    heavy = [m for m in ("torch", "lightning", "torchvision", "timm", "wandb") if m in sys.modules]
    assert not heavy, f"import {{name}} imports {{heavy}}"
"""
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    process = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == 0, process.stderr
