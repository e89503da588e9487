"""What a command does, as one Python call that can be shown as code to copy, or made."""

from __future__ import annotations

import importlib
from functools import reduce
from typing import Any


class Code(str):
    """A name or an expression, in place of a value."""

    __slots__ = ()


class Call(Code):
    """One call; keyword and trailing positional arguments that are None are left at their defaults.

    Args:
        function: `cl.NAME`, or `module:NAME` for a function that is imported by path.
        values: positional arguments; one that is itself a call is made first.
        assign: name for the result.
        named: keyword arguments.

    Example:
        >>> Call("cl.probe", Code("run"), "table.csv", targets=None, modalities=["a"], assign="results")
        "results = cl.probe(run, 'table.csv', modalities=['a'])"
        >>> Call("commlearn.cli.names:names", "image,text").made()
        ['image', 'text']
    """

    module: str
    name: str
    values: list[Any]
    named: dict[str, Any]

    def __new__(cls, function: str, *values: Any, assign: str = "", **named: Any) -> Call:
        given = list(values)
        while given and given[-1] is None:
            given.pop()
        stated = {name: value for name, value in named.items() if value is not None}
        module, _, name = function.rpartition(":")
        shown = [_shown(value) for value in given]
        shown += [f"{key}={_shown(value)}" for key, value in stated.items()]
        call = super().__new__(cls, f"{assign} = " * bool(assign) + f"{name}({', '.join(shown)})")
        call.module, call.name, call.values, call.named = module, name, given, stated
        return call

    def made(self, **more: Any) -> Any:
        """Make the call and return its result; `more` are arguments that are not shown, such as `tell`."""
        place: Any = importlib.import_module(self.module or "commlearn")
        function = reduce(getattr, self.name.removeprefix("cl.").split("."), place)
        values = [_made(value) for value in self.values]
        return function(*values, **{name: _made(value) for name, value in self.named.items()}, **more)

    def imports(self) -> list[str]:
        """Return the import lines that must come before the call."""
        inner = [line for value in (*self.values, *self.named.values()) for line in _imports(value)]
        return [*inner, *([f"from {self.module} import {self.name}"] if self.module else [])]


def program(*lines: str) -> str:
    """Return the lines as a program that can be run."""
    imports = dict.fromkeys(line for code in lines for line in _imports(code))
    blank = [""] if imports or not lines[0].startswith("from ") else []
    return "\n".join(["import commlearn as cl", *imports, *blank, *lines]) + "\n"


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Code) else repr(value)


def _made(value: Any) -> Any:
    return value.made() if isinstance(value, Call) else value


def _imports(value: Any) -> list[str]:
    return value.imports() if isinstance(value, Call) else []
