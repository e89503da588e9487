"""Conversion of YAML values to annotated Python types; errors say what would fit."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin


class WrongValue(Exception):
    """A value that does not fit its type; the message says what would."""


def converted(hint: Any, value: Any) -> Any:
    """Convert a value to its type, as far as YAML leaves that open.

    Raises:
        WrongValue: the value does not fit the type.

    Example:
        >>> converted(float, "1e-3"), converted(int | None, None), converted(tuple[int, ...], [1, 2])
        (0.001, None, [1, 2])
    """
    origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            raise WrongValue("one of " + ", ".join(str(choice) for choice in get_args(hint)))
        return value
    if origin in (Union, types.UnionType):
        return _any_of(get_args(hint), value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise WrongValue("a mapping of settings")
        return {key: converted(get_args(hint)[1], entry) for key, entry in value.items()}
    if origin in (list, tuple) or (origin is not None and origin.__name__ == "Sequence"):
        if not isinstance(value, list | tuple):
            raise WrongValue("a list")
        inner = next((arg for arg in get_args(hint) if arg is not Ellipsis), Any)
        if origin is tuple and Ellipsis not in get_args(hint) and len(value) != len(get_args(hint)):
            raise WrongValue(f"{len(get_args(hint))} values")
        return [converted(inner, entry) for entry in value]
    return _plain(hint, value)


def _any_of(hints: tuple[Any, ...], value: Any) -> Any:
    """Convert a value to the first of several types that it fits."""
    if value is None and type(None) in hints:
        return None
    expected = []
    for hint in hints:
        try:
            if hint is not type(None):
                return converted(hint, value)
        except WrongValue as problem:
            expected.append(str(problem))
    raise WrongValue(", or ".join(expected))


def _plain(hint: Any, value: Any) -> Any:
    if hint is float:
        if isinstance(value, bool):
            raise WrongValue("a number")
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):  # a whole number may be too large for any float
            raise WrongValue("a number") from None
    if hint is int and (not isinstance(value, int) or isinstance(value, bool)):
        raise WrongValue("a whole number")
    if hint is bool and not isinstance(value, bool):
        raise WrongValue("true or false")
    if hint is str and not isinstance(value, str):
        raise WrongValue("text")
    return value
