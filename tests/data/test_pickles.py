"""Plain values come out whichever way they were written; anything else is refused, and nothing runs."""

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shiftaddaug.data.pickles import read_plain_dict
from shiftaddaug.errors import UserError


class _Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self._reduced


def python2_pickle(pixels: np.ndarray, labels: list[int]) -> bytes:
    """What Python 2 wrote: protocol 2, byte strings for text and for the array's data."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    rows, columns = pixels.shape
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01" + b"J" + struct.pack("<i", rows) + b"J" + struct.pack("<i", columns) + b"\x86"
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNN"
        + b"J\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89T" + struct.pack("<i", pixels.size) + pixels.tobytes() + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"fine_labels") + numbers + b"u."


def read(tmp_path: Path, content: bytes) -> dict[str, Any]:
    (tmp_path / "file").write_bytes(content)
    return read_plain_dict(tmp_path / "file")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("byte_keys", [False, True])
def test_every_protocol_round_trips(tmp_path: Path, protocol: int, byte_keys: bool) -> None:
    record = {
        "data": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "label": np.int64(-3),
        "labels": [1, 2.5, "name", b"\xff\x00"],
    }
    written = {key.encode(): value for key, value in record.items()} if byte_keys else record
    found = read(tmp_path, pickle.dumps(written, protocol))
    assert list(found) == list(record)
    for key in ("data", "fortran", "big"):
        np.testing.assert_array_equal(found[key], record[key])
        assert found[key].dtype == record[key].dtype
    assert found["label"] == -3
    if protocol > 0:  # protocol 0 text is not told from bytes when it is read as Python 2's
        assert found["labels"] == record["labels"]


def test_python_2_round_trips(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 64)
    found = read(tmp_path, python2_pickle(pixels, [3, 1, 4, 1]))
    np.testing.assert_array_equal(found["data"], pixels)
    assert found["fine_labels"] == [3, 1, 4, 1]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    for named, function, argument in (
        (r"names (posix|nt)\.system", os.system, f"touch {marker}"),
        (r"names (builtins|__builtin__)\.eval", eval, f"open({str(marker)!r}, 'w')"),
    ):
        with pytest.raises(UserError, match=named):
            read(tmp_path, pickle.dumps({"data": _Calls(function, argument)}, protocol))
    assert not marker.exists()


def test_objects_in_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="array of type O8"):
        read(tmp_path, pickle.dumps({"data": np.array([{}], dtype=object)}, 2))


def test_attributes_of_admitted_names_are_refused(tmp_path: Path) -> None:
    dotted = b"\x80\x04}\x8c\x04data\x8c\x05numpy\x8c\x0endarray.tofile\x93s."
    with pytest.raises(UserError, match=r"names numpy\.ndarray\.tofile"):
        read(tmp_path, dotted)


@pytest.mark.parametrize("keep", [0, 1, 10, 60, -1])
def test_truncation_is_damage(tmp_path: Path, keep: int) -> None:
    whole = pickle.dumps({"data": np.zeros((5, 7), np.uint8)}, 4)
    with pytest.raises(UserError, match=r"file: damaged"):
        read(tmp_path, whole[:keep])


@pytest.mark.parametrize("content", [b"not a pickle", bytes(range(256)), pickle.dumps([1]), pickle.dumps({1: 2})])
def test_garbage_is_damage(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"file: damaged") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_data_that_does_not_fill_its_shape_is_damage(tmp_path: Path) -> None:
    whole = python2_pickle(np.zeros((4, 64), np.uint8), [0])
    with pytest.raises(UserError, match="damaged"):
        read(tmp_path, whole.replace(struct.pack("<i", 64), struct.pack("<i", 65), 1))
