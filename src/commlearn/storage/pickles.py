"""Reading of published pickles without running anything that they request.

A pickle is a program for a small stack machine, two of whose instructions import and call whatever the
file names. Here the standard library's machine gets only the instructions that build values, and none that
imports: a name in the file is looked up in `pickle_names.ADMITTED`, a table of the library's own functions
that make arrays, and any other name is refused. No instruction allocates more memory than the file has
content, and what calls may produce is checked against the file's size before memory is allocated.
"""

from __future__ import annotations

import mmap
import pickle
import pickletools
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from commlearn import errors
from commlearn.errors import DataError
from commlearn.storage.pickle_names import ADMITTED, Name, Refused, Size, restore_array, restore_dtype
from commlearn.storage.plain_files import plain_file

ROOM = 64 << 20  # bytes that calls may produce beyond a small multiple of the file's size
TIMES = 8  # that multiple
DAMAGED = (*errors.DAMAGED, struct.error, MemoryError, pickle.UnpicklingError)
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
    except (Refused, *DAMAGED) as problem:
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
