"""YAML as plain values: no code, no duplicate keys, and no more values than a person would write.

YAML leaves some types open, and Python's callers pass numbers of NumPy; `converted` turns values into what an
annotation asks for.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import yaml

from commlearn.errors import DAMAGED, ConfigurationError

MOST = 100_000  # most values, each counted per reference: nested references can make billions
DEEPEST = 50  # most levels of nesting


def read_yaml(text: str, where: str) -> Any:
    """Return the values of YAML text; errors name the place that cannot be read.

    Args:
        text: content of the file.
        where: what to call the text in messages.

    Example:
        >>> read_yaml("epochs: 3", "settings")
        {'epochs': 3}
    """
    try:
        return yaml.load(text, _UniqueKeyLoader)
    except (yaml.YAMLError, *DAMAGED) as problem:  # for example, for 2020-13-45, 0x_ or !!bool maybe
        reason = str(problem).replace('in "<unicode string>", ', "")
        raise ConfigurationError(f"{where} cannot be read as YAML: {reason}") from problem


def yaml_text(values: Any, **options: Any) -> str:
    """Return plain values as YAML text in their order, with tuples as lists and without references.

    Args:
        values: the values to write.
        options: options of `yaml.dump`.

    Example:
        >>> yaml_text({"scale": (0.5, 1.0), "about": "é"}, allow_unicode=True)
        'scale:\\n- 0.5\\n- 1.0\\nabout: é\\n'
    """
    return yaml.dump(values, Dumper=_PlainDumper, sort_keys=False, **options)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_PlainDumper.add_representer(tuple, yaml.SafeDumper.represent_list)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Loader that refuses duplicate keys, one of which would be dropped silently, and excessive size."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}, 0) > MOST:
            raise yaml.constructor.ConstructorError(
                None, None, f"it holds more than {MOST:,} values, counting references", node.start_mark
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in names.items():
            if count > 1:
                problem = f"'{name}' is given {count} times; give it once"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Return how many values a node stands for, references counted."""
    if depth > DEEPEST:
        problem = f"it is nested deeper than {DEEPEST} levels, or refers to itself"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        sizes[id(node)] = 1 + sum(_size(part, sizes, depth + 1) for part in parts)
    return sizes[id(node)]


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
    value = value.item() if isinstance(value, np.generic) else value
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
