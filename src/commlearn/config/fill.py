"""From plain YAML values to typed dataclasses: unknown keys and wrong types are reported with the way out."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from commlearn.errors import ConfigurationError, Problems, unknown
from commlearn.storage.plain_yaml import yaml_text

_INVALID = object()  # stands for a value whose problem was reported; its field keeps the default


class _Wrong(Exception):
    """A value that does not fit its type; the message says what would."""


def fill(cls: type, mapping: Any, where: str, problems: Problems) -> Any:
    """Make an instance of a dataclass from a mapping, or None if that was not possible."""
    if not isinstance(mapping, Mapping):
        problems.add(f"{where or 'The configuration'} should be named settings, got {mapping!r}.")
        return None
    hints = get_type_hints(cls)
    names = [entry.name for entry in dataclasses.fields(cls)]
    values = {}
    for key, value in mapping.items():
        if key not in names:
            problems.add(unknown("key", _join(where, key), [_join(where, name) for name in names]))
            continue
        converted = _value(hints[key], value, _join(where, key), problems)
        if converted is not _INVALID:
            values[key] = converted
    required = [
        entry.name
        for entry in dataclasses.fields(cls)
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in mapping]
    for name in missing:
        problems.add(f"{_join(where, name)} is missing.")
    return None if set(required) - set(values) else cls(**values)


def check_part(
    what: str,
    part: dict[str, Any],
    registry: Mapping[str, Callable[..., Any]],
    where: str,
    problems: Problems,
    given: tuple[str, ...] = (),
) -> None:
    """Check a registry's part: its name, and its options against the signature of what it names.

    Options take their type in place: YAML reads `1e-3` as text. Those without a default have to be stated,
    unless arguments are `given`, which are then all that a builder needs.
    """
    if part.get("name") is None:
        problems.add(f"{where} needs a name: one of {', '.join(sorted(registry))}.")
        return
    if not isinstance(part["name"], str) or part["name"] not in registry:
        problems.add(f"{where}: " + unknown(what, part["name"], registry))
        return
    build = registry[part["name"]]
    signature = inspect.signature(build).parameters if build is not dict else {}
    hints = get_type_hints(build.__init__ if inspect.isclass(build) and build is not dict else build)
    options = [name for name in signature if name not in given]
    for key, value in part.items():
        if key == "name":
            continue
        if key not in options:
            problems.add(unknown("key", _join(where, key), [_join(where, option) for option in options]))
        elif key in hints:
            converted = _value(hints[key], value, _join(where, key), problems)
            part[key] = value if converted is _INVALID else converted
    for name in () if given else options:
        option = signature[name]
        named = option.kind not in (option.VAR_POSITIONAL, option.VAR_KEYWORD)
        if named and option.default is option.empty and name not in part:
            problems.add(f"{_join(where, name)} is missing.")


def set_dotted(mapping: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b.c` inside nested mappings; `method: clip` replaces the whole part.

    Example:
        >>> settings = {"training": {"epochs": 1}}
        >>> set_dotted(settings, "training.epochs", 2)
        >>> settings
        {'training': {'epochs': 2}}
    """
    *path, last = dotted.split(".")
    here = mapping
    for key in path:
        inner = here.get(key)
        if isinstance(inner, str):  # the short form of a part
            inner = {"name": inner}
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise ConfigurationError(f"{dotted}: '{key}' is {inner!r}, which has no '{last}' inside.")
        here[key] = dict(inner)
        here = here[key]
    here[last] = value


def _value(hint: Any, value: Any, where: str, problems: Problems) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        filled = fill(hint, {} if value is None else value, where, problems)
        return _INVALID if filled is None else filled
    if get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            got = "nothing" if value is None else repr(value)
            problems.add(f"{where} should be named settings, got {got}.")
            return _INVALID
        inner = get_args(hint)[1]
        for key in value:
            if not isinstance(key, str):
                problems.add(
                    f"{where} names {key!r}, which YAML reads as {type(key).__name__}; put it in quotes."
                )
                return _INVALID
        entries = {key: _value(inner, entry, _join(where, key), problems) for key, entry in value.items()}
        return {key: entry for key, entry in entries.items() if entry is not _INVALID}
    try:
        return _convert(hint, value)
    except _Wrong as wrong:
        problems.add(f"{where} is {_shown(value)}; give {wrong}.")
        return _INVALID


def _shown(value: Any) -> str:
    """The value as YAML writes it where Python has a word of its own."""
    return yaml_text(value).split()[0] if value is None or isinstance(value, bool) else repr(value)


def _convert(hint: Any, value: Any) -> Any:
    """The value as its type, where YAML left room; anything else is refused."""
    origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            raise _Wrong("one of " + ", ".join(str(choice) for choice in get_args(hint)))
        return value
    if origin in (Union, types.UnionType):
        return _any_of(get_args(hint), value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _Wrong("named settings")
        return {key: _convert(get_args(hint)[1], entry) for key, entry in value.items()}
    if origin in (list, tuple) or (origin is not None and origin.__name__ == "Sequence"):
        if not isinstance(value, list | tuple):
            raise _Wrong("a list")
        inner = next((arg for arg in get_args(hint) if arg is not Ellipsis), Any)
        if origin is tuple and Ellipsis not in get_args(hint) and len(value) != len(get_args(hint)):
            raise _Wrong(f"{len(get_args(hint))} values")
        return [_convert(inner, entry) for entry in value]
    return _plain(hint, value)


def _any_of(hints: tuple[Any, ...], value: Any) -> Any:
    """The value as the first of several types that it fits."""
    if value is None and type(None) in hints:
        return None
    wanted = []
    for hint in hints:
        try:
            if hint is not type(None):
                return _convert(hint, value)
        except _Wrong as wrong:
            wanted.append(str(wrong))
    raise _Wrong(", or ".join(wanted))


def _plain(hint: Any, value: Any) -> Any:
    if hint is float:
        if isinstance(value, bool):
            raise _Wrong("a number")
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):  # a whole number may be too large for any float
            raise _Wrong("a number") from None
    if hint is int and (not isinstance(value, int) or isinstance(value, bool)):
        raise _Wrong("a whole number")
    if hint is bool and not isinstance(value, bool):
        raise _Wrong("true or false")
    if hint is str and not isinstance(value, str):
        raise _Wrong("text")
    return value


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)
