"""The arguments that a source states are those of the imported class; reading them imports nothing."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from shiftaddaug.data.settings import ImageSize
from shiftaddaug.errors import UserError
from shiftaddaug.settings import PositiveInt, Share
from shiftaddaug.signatures import class_constant, signature_of

TARGETS = [
    "torch.optim.SGD",
    "torch.optim.AdamW",
    "torch.optim.lr_scheduler.OneCycleLR",
    "torch.optim.lr_scheduler.ExponentialLR",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.RichProgressBar",
    "lightning.pytorch.loggers.WandbLogger",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "timm.optim.create_optimizer_v2",
    "timm.optim.Lamb",
    "shiftaddaug.callbacks.reorder.ReorderChannels",
    "shiftaddaug.callbacks.checkpoint.BestCheckpoint",
    "shiftaddaug.nets.spec.SubnetSpec",
    "shiftaddaug.tasks.schedule.step_decay",
]
"""Re-exported, decorated, with `**kwargs`; classes and functions."""


def imported(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("target", TARGETS)
def test_arguments_are_those_of_the_imported(target: str) -> None:
    parameters = inspect.signature(imported(target)).parameters.values()
    named = [each for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    read = signature_of(target)
    assert read is not None
    assert [*read.arguments] == [each.name for each in named]
    assert set(read.required) == {each.name for each in named if each.default is each.empty}
    assert read.open == any(each.kind is each.VAR_KEYWORD for each in parameters)


def test_an_inherited_init_is_that_of_the_base() -> None:
    read = signature_of("shiftaddaug.callbacks.progress.Throughput")
    own = signature_of("lightning.pytorch.callbacks.Timer")
    assert own is not None and "duration" in own.arguments
    assert read is None or read.required == ()


def test_annotations() -> None:
    read = signature_of("shiftaddaug.callbacks.reorder.ReorderChannels")
    assert read is not None
    assert read.arguments["every_n_epochs"] == PositiveInt
    assert read.arguments["until"] == Share
    sgd = signature_of("torch.optim.SGD")
    assert sgd is not None
    assert sgd.arguments["nesterov"] is bool
    assert sgd.arguments["lr"] is None, "of a tensor, which is not imported, nothing is known"


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("torch.optim.Sgd", "_target_=torch.optim.Sgd: no such class or function; did you mean SGD?"),
        ("lightning.pytorch.callbacks.EarlyStop", "no such class or function"),
        ("shiftaddaug.data.digits.Digits", "_target_=shiftaddaug.data.digits.Digits: no such class or function"),
        ("nope.Nope", "_target_=nope.Nope: no such package as nope"),
        ("Nope", "_target_=Nope: no such package as Nope"),
        ("", "_target_=: no such package as "),
        ("nope..Nope", "_target_=nope..Nope: no such package as nope"),
    ],
)
def test_what_is_not_there(target: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        signature_of(target)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    "target", ["builtins.dict", "torch.nope.Nope", "torch.relu", "math.sqrt", "torch.nn.functional.linear"]
)
def test_what_a_source_does_not_say_is_left_open(target: str) -> None:
    assert signature_of(target) is None


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose import fails."""
    folder = tmp_path / "unimportable_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .inner import Inner as Outer\nfrom . import inner\nraise SystemExit\n")
    (folder / "inner.py").write_text(
        "from unimportable_package.base import Base\n\n\nclass Inner(Base):\n    pass\n\n\n"
        "def function(a, /, b: int, *more, c: 'bool' = True, d: Unknown = 1, **others):\n    pass\n"
    )
    (folder / "base.py").write_text(
        "class Base:\n    def __init__(self, x: float, y: 'list[int]' = ()):\n        pass\n"
    )
    (folder / "broken.py").write_text("class Broken(\n")
    (folder / "dynamic.py").write_text("def __getattr__(name):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


SETTINGS = """from dataclasses import dataclass
from typing import Annotated, ClassVar

from msgspec import Meta
from unimportable_package.base import MOST_DOTS
from shiftaddaug.data.settings import ImageSize
from shiftaddaug.settings import Share

MOST_LINES = 7
Lines = Annotated[int, Meta(le=MOST_LINES)]
Dots = Annotated[int, Meta(le=MOST_DOTS)]

@dataclass(frozen=True, kw_only=True)
class Drawn:
    kinds: ClassVar[int] = 3
    size: ImageSize
    share: Share = 0.5
    lines: Lines | None

@dataclass(frozen=True, kw_only=True)
class Striped(Drawn):
    lines: Lines = 2
    dots: Dots = 1
"""

MODULES = """from shiftaddaug.unknown import Missing
from unimportable_package.settings import Drawn, Striped

class Base:
    settings: Drawn
    def __init__(self, **keys):
        pass

class Stripes(Base):
    settings: Striped

class Own(Stripes):
    def __init__(self, seed: int, lines: str = "", **keys: Missing):
        pass

class Closed(Stripes):
    def __init__(self, seed: int):
        pass
"""


def test_keys_that_a_settings_dataclass_states(package: Path) -> None:
    (package / "settings.py").write_text(SETTINGS)
    (package / "modules.py").write_text(MODULES)
    (package / "base.py").write_text("from shiftaddaug.settings import Share\n\nMOST_DOTS = 3\n")
    lines, dots = Annotated[int, Meta(le=7)], Annotated[int, Meta(le=3)]
    drawn = {"size": ImageSize, "share": Share, "lines": lines}
    read = {name: signature_of(f"unimportable_package.modules.{name}") for name in ("Base", "Stripes", "Own", "Closed")}
    found = {name: (dict(s.arguments), s.required, s.open, s.settings) for name, s in read.items() if s is not None}
    named = "unimportable_package.settings"
    assert found["Base"] == (drawn | {"lines": lines | None}, ("size", "lines"), False, f"{named}.Drawn")
    assert found["Stripes"] == (drawn | {"dots": dots}, ("size",), False, f"{named}.Striped")
    assert found["Own"] == (drawn | {"dots": dots, "seed": int}, ("seed", "size"), False, f"{named}.Striped")
    assert found["Closed"] == ({"seed": int}, ("seed",), False, None)
    own = signature_of(f"{named}.Striped")
    assert own is not None and own.required == ("size",)
    assert "unimportable_package" not in sys.modules


def test_a_package_is_read_and_not_imported(package: Path) -> None:
    read = signature_of("unimportable_package.Outer")
    assert read is not None
    assert (dict(read.arguments), read.required, read.open) == ({"x": float, "y": list[int]}, ("x",), False)
    function = signature_of("unimportable_package.inner.function")
    assert function is not None
    assert dict(function.arguments) == {"a": None, "b": int, "c": bool, "d": None}
    assert (function.required, function.open) == (("a", "b"), True)
    assert signature_of("unimportable_package.broken.Broken") is None
    assert signature_of("unimportable_package.dynamic.Anything") is None
    with pytest.raises(UserError, match="no such class or function; did you mean Outer"):
        signature_of("unimportable_package.Outter")
    assert "unimportable_package" not in sys.modules


def test_nothing_is_imported() -> None:
    code = (
        "import sys; from shiftaddaug.signatures import signature_of; "
        f"[signature_of(target) for target in {TARGETS}]; "
        "print(*(sys.modules.keys() & {'torch', 'lightning', 'timm', 'wandb', 'shiftaddaug.callbacks', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("Plain", None),
        ("Stated", True),
        ("Annotated", True),
        ("Inherited", True),
        ("Overridden", False),
        ("Computed", None),
        ("Nope", None),
        ("function", None),
    ],
)
def test_a_constant_of_a_class_is_read(target: str, value: object, package: Path) -> None:
    (package / "kinds.py").write_text(
        "class Plain:\n    other = 1\nclass Stated(Plain):\n    quiet = True\n"
        "class Annotated:\n    quiet: bool = True\nclass Inherited(Stated):\n    other = 2\n"
        "class Overridden(Inherited):\n    quiet = False\nclass Computed:\n    quiet = bool(1)\n"
        "def function():\n    quiet = True\n"
    )
    assert class_constant(f"unimportable_package.kinds.{target}", "quiet") is value
    assert class_constant(f"nope.{target}", "quiet") is None
