"""From plain YAML values to typed dataclasses; errors say how to fix unknown keys and wrong types."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from commlearn.errors import ConfigurationError, Problems, unknown
from commlearn.storage.plain_yaml import WrongValue, converted, yaml_text

_INVALID = object()  # stands for a value whose problem was reported; its field keeps the default


def fill(cls: type, mapping: Any, where: str, problems: Problems) -> Any:
    """Make an instance of a dataclass from a mapping; return None if that is not possible."""
    if not isinstance(mapping, Mapping):
        problems.add(f"{where or 'The configuration'} should be a mapping of settings, got {mapping!r}.")
        return None
    hints = get_type_hints(cls)
    names = [entry.name for entry in dataclasses.fields(cls)]
    values = {}
    for key, value in mapping.items():
        if key not in names:
            problems.add(unknown("key", _join(where, key), [_join(where, name) for name in names]))
            continue
        typed = _value(hints[key], value, _join(where, key), problems)
        if typed is not _INVALID:
            values[key] = typed
    required = [
        entry.name
        for entry in dataclasses.fields(cls)
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    ]
    for name in required:
        if name not in mapping:
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
    """Check a part of a registry: its name, and its options against the signature of what it names.

    Options are converted to their type in place, since YAML reads `1e-3` as text. Those without a default
    have to be stated, unless arguments are `given`: then these are all that a builder needs.
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
            typed = _value(hints[key], value, _join(where, key), problems)
            part[key] = value if typed is _INVALID else typed
    for name in () if given else options:
        option = signature[name]
        is_named = option.kind not in (option.VAR_POSITIONAL, option.VAR_KEYWORD)
        if is_named and option.default is option.empty and name not in part:
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
    section = mapping
    for key in path:
        inner = section.get(key)
        if isinstance(inner, str):  # the short form of a part
            inner = {"name": inner}
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise ConfigurationError(f"{dotted}: '{key}' is {inner!r}, which has no '{last}' inside.")
        section[key] = dict(inner)
        section = section[key]
    section[last] = value


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested settings; those of `above` win. An empty section states nothing.

    Example:
        >>> merged({"training": {"epochs": 5, "threads": 1}}, {"training": {"epochs": 2}})
        {'training': {'epochs': 2, 'threads': 1}}
        >>> merged({"training": {"epochs": 5}}, {"training": None})
        {'training': {'epochs': 5}}
    """
    result = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping | None) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value or {}) if nested else value
    return result


def _value(hint: Any, value: Any, location: str, problems: Problems) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        filled = fill(hint, {} if value is None else value, location, problems)
        return _INVALID if filled is None else filled
    if get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            description = "nothing" if value is None else repr(value)
            problems.add(f"{location} should be a mapping of settings, got {description}.")
            return _INVALID
        inner = get_args(hint)[1]
        for key in value:
            if not isinstance(key, str):
                problems.add(
                    f"{location} has the key {key!r}, which YAML reads as {type(key).__name__}; put it in "
                    "quotes."
                )
                return _INVALID
        entries = {key: _value(inner, entry, _join(location, key), problems) for key, entry in value.items()}
        return {key: entry for key, entry in entries.items() if entry is not _INVALID}
    try:
        return converted(hint, value)
    except WrongValue as problem:
        # None, True and False as YAML writes them
        written = yaml_text(value).split()[0] if value is None or isinstance(value, bool) else repr(value)
        problems.add(f"{location} is {written}; give {problem}.")
        return _INVALID


def _join(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else str(key)
