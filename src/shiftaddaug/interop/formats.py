"""The formats of files that a target is exported to, and what has to be installed to write them. Imports no torch."""

from importlib.util import find_spec

from shiftaddaug.errors import UserError

ONNX, PT2 = "onnx", "pt2"
FORMATS = (ONNX, PT2)
"""Names, which files end in: ONNX, and torch's own."""
EXTRA = "pip install -e '.[export]'"
"""Installs what the formats need besides torch."""


def refuse_missing(formats: tuple[str, ...]) -> None:
    """Refuse a format whose writer is not installed.

    Raises:
        UserError: naming what is missing, and how to get it.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if ONNX in formats and missing:
        raise UserError(f"format={ONNX}: needs {' and '.join(missing)}; options: {EXTRA}, format={PT2}")


def runs_onnx() -> bool:
    """Whether ONNX Runtime is installed, which reads what was written."""
    return find_spec("onnxruntime") is not None
