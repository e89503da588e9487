"""Reading of published pickles without running anything that they request.

A pickle is a program for a small stack machine, two of whose instructions import and call whatever the
file names. Here the standard library's machine gets only the instructions that build values, and none that
imports: a name in the file is looked up in `ADMITTED`, a table of the library's own functions that make
arrays, and any other name is refused. No instruction allocates more memory than the file has content, and
what calls may produce is checked against the file's size before memory is allocated.

numpy pickles an array in two steps: make an empty one, then set its state. The state in a file is checked
here before numpy sees it: types must be plain, and the number of bytes must match the shape.
"""

from __future__ import annotations

import math
import mmap
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened  # the full text of a few lists that hold each other fills the memory
from typing import Any

import numpy as np

from commlearn.errors import DAMAGED, DataError
from commlearn.storage.plain_files import plain_file

ROOM = 64 << 20  # bytes that calls may produce beyond a small multiple of the file's size
TIMES = 8  # that multiple
CODES = {ord(code.code): code.name for code in pickletools.opcodes}
INSTRUCTIONS = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE "
    "SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 NONE NEWTRUE "
    "NEWFALSE MARK POP POP_MARK EMPTY_LIST EMPTY_DICT EMPTY_TUPLE LIST DICT TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "APPEND APPENDS SETITEM SETITEMS PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL "
    "STACK_GLOBAL INST REDUCE BUILD PERSID BINPERSID PROTO FRAME STOP"
)


def read_pickle(path: str | Path) -> Any:
    """Return the content of a pickle of numpy arrays, dicts, lists, tuples, text and numbers.

    Files from Python 2 and from any numpy can be read; bytes that Python 2 calls `str` become text (Latin-1).

    Example:
        >>> import pickle, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "data.pkl"
        >>> _ = path.write_bytes(pickle.dumps({"train": {"text": np.eye(2)}}))
        >>> read_pickle(path)["train"]["text"].shape
        (2, 2)
    """
    path = Path(path)
    try:
        with plain_file(path).open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                raise DataError(f"{path} is empty; a pickle was expected.")
            with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
                return _read(content, size, path)
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror or problem}.") from problem


def _read(content: mmap.mmap, size: int, path: Path) -> Any:
    try:
        return Machine(content, size).load()
    except (Refused, *DAMAGED, struct.error, MemoryError, pickle.UnpicklingError) as problem:
        reason = str(problem) or type(problem).__name__
        if isinstance(problem, Refused) and content.tell() < size:  # otherwise a name may be cut off
            raise DataError(
                f"{path} was not loaded: it asks for {reason}, at byte {content.tell() - 1}. Data need only "
                "arrays, dicts, lists, tuples, text and numbers; a pickle with anything else may run code."
            ) from None
        raise DataError(f"{path}, byte {content.tell() - 1}: damaged or cut off ({reason}).") from problem


class Machine(pickle._Unpickler):  # written in Python: its instructions can be chosen
    """Stack machine that builds the value that a pickle describes.

    Args:
        content: content of the file, with `read` and `readline`.
        size: size of the file in bytes.
    """

    stack: list[Any]
    append: Callable[[Any], None]  # appends to the stack
    pop_mark: Callable[[], list[Any]]  # removes the last mark and returns the values above it
    read: Callable[[int], bytes]
    load_global: Callable[[], None]

    def __init__(self, content: Any, size: int) -> None:
        super().__init__(content, encoding="latin1")
        self.size = Size(TIMES * size + ROOM)

    def find_class(self, module: Any, name: Any) -> Any:
        if type(module) is not str or type(name) is not str:
            raise Refused("something that is not a name")
        if f"{module}.{name}" not in ADMITTED:
            raise Refused(f"'{module}.{name}'")
        return Name(f"{module}.{name}")

    def load_stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.append(self.find_class(module, name))

    def load_inst(self) -> None:
        self.load_global()
        raise Refused("a call (instruction INST)")

    def persistent_load(self, identity: Any) -> Any:
        raise Refused("an object outside the file" + (f" ('{identity}')" if type(identity) is str else ""))

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Name or type(arguments) is not tuple:
            raise Refused(f"a call of a {type(function).__name__}")
        self.append(ADMITTED[function.path](self.size, *arguments))

    def load_build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if type(value) is np.ndarray:
            restore_array(value, state, self.size)
        elif isinstance(value, np.dtype):
            restore_dtype(value, state)
        else:
            raise Refused(f"a changed {type(value).__name__}")

    def last(self, sort: type) -> Any:
        """Return the value on top, which must be of one type: an array would copy shared lists in full."""
        if type(self.stack[-1]) is not sort:
            raise ValueError(f"a {sort.__name__} was expected, not a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def load_append(self) -> None:
        value = self.stack.pop()
        self.last(list).append(value)

    def load_appends(self) -> None:
        values = self.pop_mark()
        self.last(list).extend(values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.last(dict).update(_pairs([key, value]))

    def load_setitems(self) -> None:
        values = self.pop_mark()
        self.last(dict).update(_pairs(values))

    def load_dict(self) -> None:
        values = self.pop_mark()  # first, as it changes what `append` appends to
        self.append(_pairs(values))

    def load_frame(self) -> None:  # a hint on the layout, not needed to read in order
        self.read(8)

    def load_bytearray8(self) -> None:  # the library's allocates memory before it reads
        (count,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(count)))


class _Instructions(dict[int, Callable[[Any], None]]):
    def __missing__(self, code: int) -> Callable[[Any], None]:
        if code not in CODES:
            raise ValueError(f"{bytes([code])!r} is not a pickle instruction")
        raise Refused(f"the instruction {CODES[code]}")


Machine.dispatch = _Instructions(
    (code, getattr(Machine, step.__name__))  # Machine's own, if it has one
    for code, step in pickle._Unpickler.dispatch.items()
    if CODES[code] in INSTRUCTIONS.split()
)


def _pairs(values: list[Any]) -> dict[Any, Any]:
    for key in values[::2]:
        if type(key) is tuple and any(type(part) is tuple for part in key):
            raise Refused("a key of nested tuples")  # hashing recurses as deep as they are nested
    return dict(zip(values[::2], values[1::2], strict=True))


TYPE = re.compile(r"[<>=|]?(?:b1|\?|O|O8|[iu][1248]|f[248]|c(?:8|16)|[SUa]\d{1,9})")  # plain types of arrays


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
        content = _content(content, shape, dtype, size)
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
    return np.frombuffer(_content(content, shape, dtype, size), dtype).reshape(shape, order=order)


def _scalar(size: Size, dtype: Any, content: Any = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise Refused("a number without a plain type")
    content = _content(content, (), dtype, size)
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


def _content(content: Any, shape: Any, dtype: np.dtype, size: Size) -> bytes | bytearray:
    """Return an array's content as bytes; those of Python 2 were read as Latin-1 text and are converted back.

    There have to be as many bytes as its shape and type need.
    """
    if isinstance(content, str):
        content = content.encode("latin-1")
    if not isinstance(content, bytes | bytearray):
        raise ValueError(f"bytes were expected, not a {type(content).__name__}")
    expected = _count(shape) * dtype.itemsize
    if expected != len(content):
        raise ValueError(
            f"an array of shape {shape} and type {dtype} needs {expected} bytes, got {len(content)}"
        )
    size.take(len(content))
    return content


ADMITTED: dict[str, Callable[..., Any]] = {
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
    "numpy.ndarray": _refuse_call,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,
    "__builtin__.bytes": _no_bytes,
}
