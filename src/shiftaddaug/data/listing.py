"""Which files of a tree of class folders are images of which class, found without opening one. Imports no torch.

A file is an image of the class in whose folder it lies. What a system or a program leaves there, what is no regular
file, and what lies in another class or is listed already is left out, and a warning says so.
"""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from shiftaddaug.errors import UserError, printable

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

UNREAD_SUFFIXES = (
    *(".gif", ".heic", ".heif", ".avif", ".jfif", ".jpe", ".jp2", ".jxl", ".svg", ".psd", ".ico", ".tga", ".exr"),
    *(".dng", ".cr2", ".nef", ".arw", ".raw"),
)
"""Pictures of kinds that are not read."""

SYSTEM_FOLDERS = frozenset(
    {
        *("__macosx", "lost+found", "$recycle.bin", "recycler", "recycled", "system volume information"),
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "#recycle", "#snapshot", "~snapshot"),
        *("__pycache__", "network trash folder", "temporary items", "thumbs.db", "desktop.ini"),
    }
)
"""Names, in lower case, that systems and file servers (Synology, QNAP, NetApp) give what they leave in a folder; others
begin with a dot."""

LEFT_BEHIND = "left by a system or a program"
SPECIAL = "no regular file"
ELSEWHERE = "lies in another class or split"
TWICE = "reached twice"
UNREAD = f"no kind of image that is read ({', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})"


class _File(NamedTuple):
    """A file that may be an image."""

    path: str
    real: str
    """Path without links."""
    inode: int
    """Number that its folder states: equal for two names of one file, but on some file systems for others, too."""
    linked: bool
    """Whether it is reached through a link."""


Place = tuple[str, str]
"""(split, class)"""


@dataclass
class _LeftOut:
    """What is left out, by reason."""

    root: Path
    paths: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, path: str) -> None:
        self.paths.setdefault(reason, []).append(path)

    def below(self, folder: Path | None = None) -> str:
        """Say how many are left out and why; nothing of none."""
        start = str(folder or self.root)
        counted = {
            reason: [path for path in paths if path == start or path.startswith(f"{start}{os.sep}")]
            for reason, paths in self.paths.items()
        }
        parts = [
            f"{reason}: {len(paths)} (such as {printable(os.path.relpath(min(paths), self.root))})"
            for reason, paths in counted.items()
            if paths
        ]
        return "; ".join(parts)


def is_left_behind(name: str) -> bool:
    """Whether a file or folder of that name is a system's or a program's: hidden, a backup, a thumbnail, a bin."""
    return name.startswith((".", "~$")) or name.endswith("~") or name.lower() in SYSTEM_FOLDERS


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without those that a system or a program left.

    Names that differ in how an accent is written alone (macOS writes it apart from its letter) have the same place.

    Raises:
        UserError: it cannot be read.
    """
    names = (entry.name for entry in _entries(str(folder)) if _kind(entry) == "folder")
    kept = (name for name in names if not is_left_behind(name))
    return sorted(kept, key=lambda name: (unicodedata.normalize("NFC", name), name))


def images_below(folder: Path) -> list[Path]:
    """Return the images in a folder and the folders in it, sorted; links to folders are not followed.

    Raises:
        UserError: it cannot be read.
    """
    entries = [entry for entry in _entries(str(folder), "images") if not is_left_behind(entry.name)]
    images = [entry for entry in entries if entry.name.lower().endswith(IMAGE_SUFFIXES)]
    found = [Path(entry.path) for entry in images if _kind(entry) == "file"]
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            found += images_below(Path(entry.path))
    return sorted(found)


def list_images(root: Path, splits: Sequence[str], names: Sequence[str]) -> dict[str, list[tuple[Path, int]]]:
    """List the images of every split, each file once; warn once of what is left out.

    A file that lies in no class folder, but to which several link, is an image of the first: test before validation
    before training.

    Args:
        root: holds the splits' folders.
        splits: such as train, val, test: in this order; an empty name is `root` itself.
        names: of the classes; the label of one is its place.

    Returns:
        (file, label) of every image, by split, in the order of classes and then of paths.

    Raises:
        UserError: a class has no image, or a folder cannot be read.
    """
    left = _LeftOut(root)
    owners = _owners(root, splits, names)
    found = {
        (split, name): sorted(_files_in(root / split / name, (split, name), owners, left))
        for split in reversed(splits)
        for name in names
    }
    repeated = _repeated(found, left)
    images = {
        split: [
            (Path(file.path), label)
            for label, name in enumerate(names)
            for file in _kept(root / split / name, found[split, name], repeated, left)
        ]
        for split in splits
    }
    if left.paths:
        log.warning("data.data_dir=%s: what is no image of its class is left out; %s", printable(root), left.below())
    return images


def _kept(folder: Path, files: list[_File], repeated: set[str], left: _LeftOut) -> list[_File]:
    kept = [file for file in files if file.path not in repeated] if repeated else files
    if not kept:
        reasons = left.below(folder)
        end = f"; left out: {reasons}" if reasons else ""
        raise UserError(f"data.data_dir={left.root}: no image in class folder {folder}{end}")
    return kept


def _owners(root: Path, splits: Sequence[str], names: Sequence[str]) -> dict[str, Place]:
    """Return whose the class folders are, by their path without links; of several links to one folder, the first's."""
    owners: dict[str, Place] = {}
    for linked in (False, True):
        for split in reversed(splits):
            for name in names:
                folder = root / split / name
                if (os.path.islink(folder) or os.path.islink(folder.parent)) == linked:
                    owners.setdefault(os.path.realpath(folder), (split, name))
    return owners


def _owner(real: str, owners: Mapping[str, Place]) -> Place | None:
    """Return the class in whose folder a path lies, if in any."""
    while real not in owners:
        parent = os.path.dirname(real)
        if parent == real:
            return None
        real = parent
    return owners[real]


def _files_in(top: Path, place: Place, owners: Mapping[str, Place], left: _LeftOut) -> Iterator[_File]:
    """Find what may be an image in the folder of a class, following links but not to where other classes lie."""
    start = os.path.realpath(top)
    linked = owners[start] != place
    plain, links, seen = ([] if linked else [(str(top), start)]), ([(str(top), start)] if linked else []), set[str]()
    while plain or links:
        linked = not plain
        folder, real = (plain or links).pop()
        if linked and _owner(real, owners) not in (None, place):
            left.add(ELSEWHERE, folder)
        elif real in seen or (linked and folder != str(top) and f"{start}{os.sep}".startswith(f"{real}{os.sep}")):
            left.add(TWICE, folder)
        else:
            seen.add(real)
            for entry in _entries(folder):
                kind, is_link = _kind(entry), linked or entry.is_symlink()
                if kind == "folder" and not is_left_behind(entry.name):
                    (links if is_link else plain).append((entry.path, _real(entry, real)))
                elif kind == "folder" or entry.name.lower().endswith(IMAGE_SUFFIXES):
                    reason = _no_image(entry, kind, is_link, real, place, owners)
                    if reason is None:
                        inode = entry.stat().st_ino if entry.is_symlink() else entry.inode()
                        yield _File(entry.path, _real(entry, real), inode, is_link)
                    else:
                        left.add(reason, entry.path)
                elif entry.name.lower().endswith(UNREAD_SUFFIXES) and not is_left_behind(entry.name):
                    left.add(UNREAD, entry.path)


def holds_images(folder: Path) -> bool:
    """Whether images lie in a folder directly.

    Raises:
        UserError: it cannot be read.
    """
    names = (entry.name for entry in _entries(str(folder)))
    return any(name.lower().endswith(IMAGE_SUFFIXES) and not is_left_behind(name) for name in names)


def count_files(folder: Path, most: int) -> int:
    """Count files that look like images below a folder, up to a number; behind a link there may be as many.

    Raises:
        UserError: a folder cannot be read.
    """
    count, folders = 0, [str(folder)]
    while folders and count < most:
        for entry in _entries(folders.pop()):
            if is_left_behind(entry.name):
                continue
            if _kind(entry) == "folder":
                if entry.is_symlink():
                    return most  # whose it is, `list_images` finds out
                folders.append(entry.path)
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                count += 1
    return min(count, most)


def _no_image(
    entry: "os.DirEntry[str]", kind: str, is_link: bool, real: str, place: Place, owners: Mapping[str, Place]
) -> str | None:
    """Return why a file is no image of its class."""
    if is_left_behind(entry.name):
        return LEFT_BEHIND
    if kind != "file":
        return SPECIAL
    if is_link and _owner(_real(entry, real), owners) not in (None, place):
        return ELSEWHERE
    return None


def _real(entry: "os.DirEntry[str]", folder: str) -> str:
    """Return the path of an entry without links, given its folder's."""
    return os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(folder, entry.name)


def _kind(entry: "os.DirEntry[str]") -> str:
    """Return `folder`, `file` or `other`: a pipe, a socket, a device, a link to nothing or to itself."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:
        return "other"


def _entries(folder: str, key: str = "data.data_dir") -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"{key}={folder}: cannot be read ({error.strerror})") from error


def _repeated(found: Mapping[Place, list[_File]], left: _LeftOut) -> set[str]:
    """Return the paths of files that are listed before under another path; what is no link comes first."""
    ordered = [file for linked in (False, True) for files in found.values() for file in files if file.linked == linked]
    repeated: set[str] = set()
    seen: set[object] = set()
    inodes = Counter(file.inode for file in ordered)
    for file in ordered:
        names: list[object] = [file.real]
        if inodes[file.inode] > 1:  # perhaps two names of one file
            stat = os.stat(file.path)
            names.append((stat.st_dev, stat.st_ino))
        if seen.isdisjoint(names):
            seen.update(names)
        else:
            repeated.add(file.path)
            left.add(TWICE, file.path)
    return repeated
