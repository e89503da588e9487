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
        positional = list(values)
        while positional and positional[-1] is None:
            positional.pop()
        keywords = {name: value for name, value in named.items() if value is not None}
        module, _, name = function.rpartition(":")
        arguments = [_source(value) for value in positional]
        arguments += [f"{key}={_source(value)}" for key, value in keywords.items()]
        call = super().__new__(cls, f"{assign} = " * bool(assign) + f"{name}({', '.join(arguments)})")
        call.module, call.name, call.values, call.named = module, name, positional, keywords
        return call

    def made(self, **more: Any) -> Any:
        """Make the call and return its result; `more` are arguments that are not shown, such as `tell`."""
        module: Any = importlib.import_module(self.module or "commlearn")
        function = reduce(getattr, self.name.removeprefix("cl.").split("."), module)
        values = [_evaluate(value) for value in self.values]
        return function(*values, **{name: _evaluate(value) for name, value in self.named.items()}, **more)

    def imports(self) -> list[str]:
        """Return the import lines that must come before the call."""
        inner = [line for value in (*self.values, *self.named.values()) for line in _imports(value)]
        return [*inner, *([f"from {self.module} import {self.name}"] if self.module else [])]


def program(*lines: str) -> str:
    """Return the lines as a program that can be run."""
    imports = dict.fromkeys(line for code in lines for line in _imports(code))
    blank = [""] if imports or not lines[0].startswith("from ") else []
    return "\n".join(["import commlearn as cl", *imports, *blank, *lines]) + "\n"


def _source(value: Any) -> str:
    return str(value) if isinstance(value, Code) else repr(value)


def _evaluate(value: Any) -> Any:
    return value.made() if isinstance(value, Call) else value


def _imports(value: Any) -> list[str]:
    return value.imports() if isinstance(value, Call) else []
