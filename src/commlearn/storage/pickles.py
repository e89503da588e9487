"""Published pickles, read without running anything that they ask for.

A pickle is a program for a small stack machine, two of whose instructions import and call whatever the
file names. This machine knows the instructions that build values and none that imports: a name in the
file is looked up in `pickle_names.ADMITTED`, a table of our own functions that make arrays, and anything
else is refused by its name. Lengths are checked against the file, and what calls may produce against its
size, before memory is asked for.
"""

from __future__ import annotations

import mmap
import pickletools
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from commlearn.errors import DataError
from commlearn.storage.pickle_names import ADMITTED, Name, Refused, Size, restore_array, restore_dtype
from commlearn.storage.plain_files import plain_file

ROOM = 64 << 20  # bytes that calls may produce beyond a small multiple of the file's size
TIMES = 8  # that multiple
DAMAGED = (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error, MemoryError)


def read_pickle(path: str | Path) -> Any:
    """The content of a pickle of numpy arrays, dicts, lists, tuples, text and numbers.

    Files of Python 2 and of any numpy are read; bytes that Python 2 calls `str` become text (Latin-1).

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
                return Machine(content, size, str(path)).run()
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror or problem}.") from problem


class Machine:
    """Builds the value that a pickle describes.

    Args:
        content: of the file, with `read` and `readline`.
        size: of the file in bytes.
        where: the file, for messages.
    """

    def __init__(self, content: Any, size: int, where: str) -> None:
        self.content: BinaryIO = content
        self.where = where
        self.size = Size(TIMES * size + ROOM)
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # stacks under each open mark
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            place = self.content.tell()
            code = self.content.read(1)
            if not code:
                raise DataError(f"{self.where} ends after {place} bytes, in the middle. Is it cut off?")
            opcode = CODES.get(code.decode("latin-1"))
            if opcode is None:
                raise DataError(f"{self.where}, byte {place}: {code!r} is no instruction of a pickle.")
            try:
                argument = opcode.arg.reader(self.content) if opcode.arg is not None else None
                if opcode.name == "STOP":
                    return self.stack.pop()
                step = STEPS.get(opcode.name)
                if step is None:
                    raise Refused(_instruction(opcode.name, argument))
                step(self, argument)
            except Refused as refused:
                raise DataError(
                    f"{self.where} was not loaded: it asks for {refused}, at byte {place}. Data need arrays, "
                    "dicts, lists, tuples, text and numbers; a pickle with anything else may run programs."
                ) from None
            except DAMAGED as problem:
                reason = str(problem) or type(problem).__name__
                raise DataError(
                    f"{self.where}, byte {place}: damaged ({opcode.name}: {reason})."
                ) from problem

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def marked(self) -> list[Any]:
        """What lies above the last mark, taken off with it."""
        above, self.stack = self.stack, self.below.pop()
        return above

    def last(self, sort: type) -> Any:
        """The value on top, which has to be of one type."""
        if type(self.stack[-1]) is not sort:
            raise ValueError(f"a {sort.__name__} was expected, not a {type(self.stack[-1]).__name__}")
        return self.stack[-1]


def _instruction(name: str, argument: Any) -> str:
    """What an instruction that is not admitted wants."""
    if name == "INST":
        return f"'{str(argument).replace(' ', '.')}'"
    effects = {
        "PERSID": f"an object outside the file ('{argument}')",
        "BINPERSID": "an object outside the file",
        "OBJ": "a call (instruction OBJ)",
        "NEWOBJ_EX": "a call (instruction NEWOBJ_EX)",
        "NEXT_BUFFER": "a buffer outside the file",
    }
    return effects.get(name) or f"the instruction {name}"


def _mark(machine: Machine, _: Any) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _pop(machine: Machine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:  # Python's own pickler closes a mark this way, after a tuple that holds itself
        machine.marked()


def _append(machine: Machine, _: Any) -> None:
    value = machine.stack.pop()
    machine.last(list).append(value)


def _appends(machine: Machine, _: Any) -> None:
    values = machine.marked()
    machine.last(list).extend(values)


def _set_item(machine: Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.last(dict)[key] = value


def _set_items(machine: Machine, _: Any) -> None:
    values = machine.marked()
    machine.last(dict).update(_pairs(values))


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))


def _tuple_of(count: int) -> Step:
    def build(machine: Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise IndexError("too few values")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return build


def _remember(machine: Machine, place: Any) -> None:
    machine.memo[len(machine.memo) if place is None else int(place)] = machine.stack[-1]


def _name(machine: Machine, module: Any, name: Any) -> None:
    wanted = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else None
    if wanted not in ADMITTED:
        raise Refused(f"'{wanted}'" if wanted else "something that is no name")
    machine.push(Name(wanted))


def _global(machine: Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    _name(machine, module, name)


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    _name(machine, module, name)


def _call(machine: Machine, _: Any) -> None:
    arguments, what = machine.stack.pop(), machine.stack.pop()
    if type(what) is not Name or type(arguments) is not tuple:
        raise Refused(f"a call of a {type(what).__name__}")
    machine.push(ADMITTED[what.path](machine.size, *arguments))


def _build(machine: Machine, _: Any) -> None:
    state, value = machine.stack.pop(), machine.stack[-1]
    if type(value) is np.ndarray:
        restore_array(value, state, machine.size)
    elif isinstance(value, np.dtype):
        restore_dtype(value, state)
    else:
        raise Refused(f"a changed {type(value).__name__}")


def _nothing(machine: Machine, _: Any) -> None:
    """Says how the file is laid out; a reader that reads on needs no such hint."""


Step = Callable[[Machine, Any], object]
CODES = {code.code: code for code in pickletools.opcodes}

_VALUES = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE "
    "SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
STEPS: dict[str, Step] = {
    **{name: Machine.push for name in _VALUES.split()},
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": lambda machine, _: machine.marked(),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "LIST": lambda machine, _: machine.push(machine.marked()),
    "DICT": lambda machine, _: machine.push(_pairs(machine.marked())),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    **{name: _remember for name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")},
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[int(place)])
    ),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "BUILD": _build,
    "PROTO": _nothing,
    "FRAME": _nothing,
}
