"""Reading pickles of plain values and numeric arrays, without the power to run code.

A pickle names functions for the reader to call. Here every name is refused but the few that numpy writes for
an array, and those are answered by stand-ins below, so that nothing of numpy itself is called by the file.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shiftaddaug.errors import UserError


class _Dtype:
    """Stands for numpy.dtype: a number of 1 to 8 bytes and its byte order."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        self._code = _text(code)
        if not re.fullmatch(r"[biuf][1248]", self._code):
            raise pickle.UnpicklingError(f"array of type {self._code}")
        self._byte_order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._byte_order = _text(state[1])

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self._byte_order + self._code)


class _Array:
    """Stands for numpy.ndarray: made empty, then given its state."""

    value: np.ndarray[Any, Any]

    def __init__(self, *_: Any) -> None:
        self.value = np.empty(0, np.uint8)

    @classmethod
    def from_buffer(cls, data: Any, dtype: _Dtype, shape: tuple[int, ...], order: str, *_: Any) -> "_Array":
        """Return an array from a buffer: numpy names this in protocol 5, in place of an empty array and a state."""
        made = cls()
        made.value = _array(data, dtype, shape, order)
        return made

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        self.value = _array(data, dtype, shape, "F" if is_fortran else "C")


def _array(data: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> np.ndarray[Any, Any]:
    if order not in ("C", "F"):
        raise pickle.UnpicklingError(f"array of order {order}")
    return np.frombuffer(data, dtype.numpy()).reshape(shape, order=order)  # type: ignore[call-overload]


def _scalar(dtype: _Dtype, data: bytes) -> int | float:
    return np.frombuffer(data, dtype.numpy(), count=1)[0].item()


def _encode_latin1(text: str, *_: Any) -> bytes:
    """Return the bytes of a text: protocol 2 has none, and Python 3 writes them as text to be encoded."""
    return text.encode("latin1")


def _text(value: str | bytes) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else value


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode_latin1,
}
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _Array
    _STAND_INS[f"{_core}.multiarray", "scalar"] = _scalar
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _Array.from_buffer


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) not in _STAND_INS:
            raise UserError(f"names {module}.{name}: only arrays, lists, numbers and text are admitted")
        return _STAND_INS[module, name]


def read_plain_dict(path: Path) -> dict[str, Any]:
    """The dictionary pickled in a file, by Python 2 or 3, in any protocol.

    Returns:
        Keys as text; values as they are in the file: numpy arrays, lists, numbers, text (bytes if Python 2 wrote
        them).

    Raises:
        UserError: the file is not a pickled dictionary, is cut short or damaged, or names anything but plain values.
    """
    with path.open("rb") as file:
        try:
            record = _PlainUnpickler(file, encoding="bytes").load()
        except UserError as error:
            raise UserError(f"{path}: refused, it {error}") from None
        except Exception as error:  # a damaged pickle may raise nearly anything
            raise UserError(f"{path}: damaged, it cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(record, dict) or not all(isinstance(key, str | bytes) for key in record):
        raise UserError(f"{path}: damaged, it is not a dictionary of named values")
    return {_text(key): value.value if isinstance(value, _Array) else value for key, value in record.items()}
