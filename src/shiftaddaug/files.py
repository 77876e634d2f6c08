"""Files that are there whole, or not at all, whenever a process or the machine stops. Imports no torch."""

import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

from shiftaddaug.errors import UserError

MOST_VALUES = 10_000
"""Values that a yaml with aliases holds at most."""
DEEPEST = 100
"""Lists within lists in a yaml, at most."""
HALF = ".half"
"""End of the name of a file that is being written: `.<name>.<process>.half` beside its place."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to; what stands there at the end takes the place of `path`.

    The content reaches the disk before the name does, and the name before this returns. The file takes the rights that
    the user's umask leaves. Halves that killed processes left of the same file are removed.

    Raises:
        UserError: it cannot be written, for the disk is full or the folder is gone; an earlier file stays as it was.
    """
    remove_halves(path.parent, path.name)
    half = path.with_name(f".{path.name}.{os.getpid()}{HALF}")
    try:
        yield half
        _to_disk(half)
        os.replace(half, path)
        _to_disk(path.parent)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter on a full disk
        raise UserError(f"{path}: could not be written ({_reason(error, path.parent)})") from error
    finally:
        _remove(half)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file as `whole` does; text as UTF-8.

    Raises:
        UserError: as `whole`.
    """
    with whole(path) as half:
        half.write_bytes(content.encode() if isinstance(content, str) else content)


def read_yaml(path: Path) -> Any:
    """Return what a yaml holds as plain containers, read as Hydra reads numbers, with interpolations as they stand.

    Raises:
        UserError: it holds more than `MOST_VALUES`, aliases written out, or lists deeper than `DEEPEST`: these may
            fill the memory, or have no end.
        OSError, yaml.YAMLError, and what is in `errors.DAMAGE`: it cannot be read, or is no yaml.
    """
    import yaml
    from omegaconf import OmegaConf

    text = path.read_text(encoding="utf-8")
    depths = accumulate(("[{".count(sign) - "]}".count(sign) for sign in text if sign in "[]{}"), initial=0)
    if max(depths) > DEEPEST:  # reading them takes the square of their number
        raise UserError(f"holds lists within lists, more than {DEEPEST} deep")
    if "&" in text and not _is_small(yaml.compose(text, Loader=yaml.SafeLoader)):
        raise UserError(f"holds more than {MOST_VALUES:,} values, aliases written out; options: a file without aliases")
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def _is_small(whole: Any) -> bool:
    """Whether a yaml holds few values, if it is read with its aliases written out, which may have no end."""
    import yaml

    waiting, count = [whole], 0
    while waiting and count <= MOST_VALUES:
        node, count = waiting.pop(), count + 1
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return count <= MOST_VALUES


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as a csv, as `whole` does. Cells that a row lacks stay empty; those that `header` lacks are left out.

    Raises:
        UserError: as `whole`.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def remove_halves(folder: Path, name: str = "*") -> None:
    """Remove what processes that were killed on this machine had begun to write.

    Args:
        folder: that holds the files.
        name: of a file; by default all.
    """
    for half in folder.glob(f".{name}.*{HALF}"):
        process = half.name.removesuffix(HALF).rpartition(".")[2]
        if process.isdigit() and not _is_alive(int(process)):
            _remove(half)


def refuse_unwritable(key: str, folder: Path) -> None:
    """Refuse a folder that cannot be made, or not be written into; make none.

    Raises:
        UserError: naming the key, and the nearest folder that is there.
    """
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir() or not _is_writable(existing):
        raise UserError(f"{key}={folder}: cannot write there ({existing} is not a writable folder)")


def _is_writable(folder: Path) -> bool:
    """Whether a folder can be written to; tried, since permission bits mean nothing to root or on read-only disks."""
    probe = folder / f".write-probe-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder is gone or read-only, which the writer has been told already
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk; some file systems cannot do so for folders."""
    folder = path.is_dir()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not folder:
            raise
    finally:
        os.close(descriptor)


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    with suppress(OSError):  # what torch's writer says of a full disk is about positions in the file
        if os.statvfs(folder).f_bavail == 0:
            return os.strerror(errno.ENOSPC)
    return f"is the disk full? {(str(error).splitlines() or [type(error).__name__])[0][:120]}"
