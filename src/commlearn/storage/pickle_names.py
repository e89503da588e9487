"""The names that a pickle of arrays may use, and the library's own functions that replace them.

numpy pickles an array in two steps: make an empty one, then set its state. The state in a file is checked
here before numpy sees it: types must be plain, and the number of bytes must match the shape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from reprlib import repr as shortened  # the full text of a few lists that hold each other fills the memory
from typing import Any

import numpy as np

TYPE = re.compile(r"[<>=|]?(?:b1|\?|O|O8|[iu][1248]|f[248]|c(?:8|16)|[SUa]\d{1,9})")


class Refused(Exception):
    """Raised if a pickle requests something that is not allowed; the message names it."""


@dataclass(frozen=True)
class Name:
    """A name from `ADMITTED` on the stack, which can only be called."""

    path: str


class Size:
    """Number of bytes that the calls of one file may still produce."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Refused("far more memory than its content needs")


def restore_array(array: np.ndarray, state: Any, size: Size) -> None:
    """Give an empty array the shape, type and content of its state."""
    if type(state) is not tuple or len(state) not in (4, 5):
        raise ValueError("the state of an array has 4 or 5 parts")
    shape, dtype, by_columns, content = state[-4:]
    if array.size:
        raise ValueError("an array is filled twice")
    count = _count(shape)
    if not isinstance(dtype, np.dtype):
        raise ValueError("an array has no type")
    if dtype.hasobject:
        if type(content) is not list or len(content) != count:
            raise ValueError(f"an array of shape {shape} needs a list of {count} values")
        size.take(8 * count)
    else:
        content = _bytes(content)
        _check_size(shape, dtype, len(content))
        size.take(len(content))
    setstate: Any = array.__setstate__
    setstate((1, shape, dtype, bool(by_columns), content))


def restore_dtype(dtype: np.dtype, state: Any) -> None:
    """Give a type its byte order; the rest of the state follows from the type."""
    if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
        raise ValueError(f"{shortened(state)} is not the state of a type")
    if any(part is not None for part in state[2:5]):
        raise Refused("a structured array")
    if state[1] in "<>" and dtype.kind != "O":
        setstate: Any = dtype.__setstate__  # type: ignore[attr-defined]
        setstate(dtype.newbyteorder(state[1]).__reduce__()[2])


def _dtype(size: Size, code: Any, *_: Any) -> np.dtype:
    if not isinstance(code, str) or not TYPE.fullmatch(code):
        raise Refused(f"the array type {shortened(code)}")
    text = "O" if "O" in code else code.replace("a", "S")
    return np.dtype(text, copy=True)  # type: ignore[call-overload]


def _reconstruct(size: Size, kind: Any, *_: Any) -> np.ndarray:
    if type(kind) is not Name or kind.path != "numpy.ndarray":
        raise Refused("an array of a class other than numpy.ndarray")
    return np.empty(0, dtype=np.uint8)


def _frombuffer(size: Size, content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or order not in ("C", "F"):
        raise ValueError("an array's buffer has no plain type")
    content = _bytes(content)
    size.take(len(content))
    _check_size(shape, dtype, len(content))
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _scalar(size: Size, dtype: Any, content: Any = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise Refused("a number without a plain type")
    content = _bytes(content)
    _check_size((), dtype, len(content))
    size.take(len(content))
    return np.frombuffer(content, dtype)[0] if content else dtype.type()


def _encode(size: Size, text: Any, encoding: Any = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused(f"'_codecs.encode' with {shortened(encoding)}")
    size.take(len(text))
    return text.encode("latin-1")


def _no_bytes(size: Size, *arguments: Any) -> bytes:
    if arguments:
        raise Refused("'bytes' with arguments")
    return b""


def _refuse_call(size: Size, *_: Any) -> Any:
    raise Refused("a call of 'numpy.ndarray'")


def _count(shape: Any) -> int:
    if type(shape) is not tuple or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"{shortened(shape)} is not a shape")
    return math.prod(shape)


def _bytes(content: Any) -> bytes | bytearray:
    """Return content as bytes; those of Python 2 were read as Latin-1 text and are converted back."""
    if isinstance(content, str):
        return content.encode("latin-1")
    if not isinstance(content, bytes | bytearray):
        raise ValueError(f"bytes were expected, not a {type(content).__name__}")
    return content


def _check_size(shape: Any, dtype: np.dtype, length: int) -> None:
    expected = _count(shape) * dtype.itemsize
    if expected != length:
        raise ValueError(f"an array of shape {shape} and type {dtype} needs {expected} bytes, got {length}")


ADMITTED: dict[str, Callable[..., Any]] = {
    **{
        f"numpy.{core}.{path}": make
        for core in ("core", "_core")
        for path, make in (
            ("multiarray._reconstruct", _reconstruct),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _frombuffer),
        )
    },
    "numpy.ndarray": _refuse_call,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,
    "__builtin__.bytes": _no_bytes,
}
