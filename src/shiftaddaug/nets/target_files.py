"""Where the files of a saved target lie. Imports no torch."""

from pathlib import Path

TARGET = "target"
"""Folder of a run in which its target lies."""
WEIGHTS, ARCHITECTURE = "model.safetensors", "architecture.json"
INTERFACE = "interface"
"""Key of architecture.json that says how the network is fed and read; earlier versions wrote none."""
HASHES = "sha256"
"""Key of architecture.json that holds a hash of both files."""


def target_folder(path: Path) -> Path:
    """Return the folder of a target, given it, one of its two files, or the run that it lies in."""
    folder = path if path.is_dir() else path.parent
    inside = folder / TARGET
    return inside if inside.is_dir() and not (folder / ARCHITECTURE).exists() else folder
