"""What a command does, as Python code to copy."""

from __future__ import annotations

from typing import Any

__all__ = ["Code", "call", "program"]


class Code(str):
    """A name or an expression, in place of a value."""

    __slots__ = ()


def call(function: str, *values: Any, keep: str = "", **named: Any) -> str:
    """One call; what is None is left to its default.

    Example:
        >>> call("cl.probe", Code("run"), "table.csv", targets=None, modalities=["a"], keep="found")
        "found = cl.probe(run, 'table.csv', modalities=['a'])"
    """
    given = list(values)
    while given and given[-1] is None:
        given.pop()
    arguments = [_shown(value) for value in given]
    arguments += [f"{name}={_shown(value)}" for name, value in named.items() if value is not None]
    return f"{keep} = {function}({', '.join(arguments)})" if keep else f"{function}({', '.join(arguments)})"


def program(*lines: str) -> str:
    """Lines that can be run as they are."""
    blank = [""] if not lines[0].startswith("from ") else []
    return "\n".join(["import commlearn as cl", *blank, *lines]) + "\n"


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Code) else repr(value)
