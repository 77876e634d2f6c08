"""shiftaddaug: train multiplication-free networks as sub-networks of multiplicative ones.

    net = shiftaddaug.load_target("logs/train/runs/RUN")
    logits = net(net.transform("photo.png")[None])
    print(net.classes)

Importing the package imports nothing heavy: a command reads and checks its configuration before torch. What stands
in `__all__` is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shiftaddaug.interop.target import load_target

__all__ = ["load_target"]
__version__ = "0.1.0"

_PLACES = {"load_target": "shiftaddaug.interop.target"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
