"""A schema as plain values and as YAML: every unknown key is reported with the nearest known one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn

from commlearn.errors import CommlearnError, ConfigurationError, Problems, unknown
from commlearn.kinds import KINDS
from commlearn.kinds.base import Kind
from commlearn.kinds.pretrained import Pretrained
from commlearn.kinds.rows import LIMIT, UNREADABLE
from commlearn.models.encoders.own import OWN
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_yaml import WrongValue, converted, read_yaml

VERSION = 1  # version of the schema format
ROLES = ("id", "group", "split")
OPTIONS = ("unreadable", "unreadable_limit", "encoding")  # taken as they are
KEYS = ("version", "modalities", "targets", "missing", *ROLES, *OPTIONS)
TRAINING = ("seed", "validation", "test", "stream", "method", "model", "training", "augmentations")
SETTINGS = ("table", "name", *TRAINING)
"""Keys that a schema file may also hold: where the table is, and how to train on it."""
KIND_KEYS = ("kind", "column", "columns")  # keys of a modality, in addition to its kind's settings
WRITTEN_NUMBER = re.compile(r"\s*[+-]?[0-9.]+(e[+-]?[0-9]+)?\s*")


def load(source: str | Path) -> tuple[Any, str]:
    """Return the values of a YAML file or YAML text, and its name for messages."""
    is_file = isinstance(source, Path) or ("\n" not in source and source.endswith((".yaml", ".yml")))
    name = str(source) if is_file else "schema"
    try:
        text = plain_file(source).read_text(encoding="utf-8") if is_file else str(source)
    except FileNotFoundError as problem:
        way = f"Give the path of one, or write one with: commlearn init TABLE -o {source}"
        message = f"There is no schema {source}. {way}"
        raise ConfigurationError(message) from problem
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{name} cannot be read as YAML: {problem}") from problem
    return read_yaml(text, name), name


def newer(version: object) -> str:
    reads = f"this commlearn reads versions up to {VERSION}. Update commlearn."
    return f"The schema has version {version}, but {reads}"


def parts(mapping: Any, problems: Problems) -> dict[str, Any]:
    """Convert plain values to arguments of a schema; a kind that cannot be built becomes None."""
    if not isinstance(mapping, Mapping):
        problems.add(f"needs modalities and, if there are any, targets; got {mapping!r:.60}.")
        return {}
    version = mapping.get("version", VERSION)
    if not isinstance(version, int) or version > VERSION:
        problems.add(newer(version))
        return {}  # other unknown entries may belong to a newer version
    for key in mapping:
        if key not in (*KEYS, *SETTINGS):
            problems.add(unknown("key", key, (*KEYS, *SETTINGS)))
    values: dict[str, Any] = {"version": version, "modalities": {}, "targets": {}}
    given = {key: mapping[key] for key in KEYS if mapping.get(key) is not None}
    values |= {key: str(given[key]) for key in ROLES if key in given}
    if "missing" in given:
        values["missing"] = missing_cells(given["missing"], problems)
    values |= {key: given[key] for key in OPTIONS if key in given}
    check_unreadable(values.get("unreadable", UNREADABLE[0]), values.get("unreadable_limit", LIMIT), problems)
    check_encoding(values.get("encoding", ""), problems)
    for key in ("modalities", "targets"):
        entries = given.get(key) or {}
        if not isinstance(entries, Mapping):
            problems.add(f"{key} must be a mapping of names to entries; got {entries!r:.60}.")
        elif key == "targets":
            values[key] = {str(column): sort for column, sort in entries.items()}
        else:
            values[key] = {
                name: _kind(part, f"modalities.{name}", problems) for name, part in entries.items()
            }
    return values


def check_unreadable(unreadable: Any, limit: Any, problems: Problems) -> None:
    """Check the settings for unreadable cells."""
    if unreadable not in UNREADABLE:
        problems.add(f"unreadable is {unreadable!r:.60}; give one of {', '.join(UNREADABLE)}.")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit <= 100:
        problems.add(f"unreadable_limit is {limit!r:.60}; give a percentage of cells from 0 to 100.")


def check_encoding(encoding: Any, problems: Problems) -> None:
    """Check that the encoding is a text encoding that Python supports."""
    try:
        "".encode(encoding or "utf-8")
    except (LookupError, TypeError):
        way_out = "give one that Python supports, such as utf-8, cp1252 or utf-16."
        problems.add(f"encoding is {encoding!r:.60}; {way_out}")


EVERYWHERE = "*"  # stands for every column


def missing_cells(stated: Any, problems: Problems) -> tuple[str, ...] | dict[str, tuple[Any, ...]]:
    """Return the values that mean an empty cell: words for all columns, or words and numbers by column."""
    if not isinstance(stated, Mapping):
        return _missing_words(stated, problems)
    cells: dict[str, tuple[Any, ...]] = {}
    for column, values in stated.items():
        if column == EVERYWHERE:
            cells[EVERYWHERE] = _missing_words(values, problems)
            continue
        entries = tuple(values) if isinstance(values, list | tuple) else (values,)
        if any(isinstance(value, bool) or not isinstance(value, str | int | float) for value in entries):
            problems.add(f"missing, {column}: {values!r:.60}; give words or numbers, such as [-999, 'n/a'].")
        cells[str(column)] = entries
    return cells or ()


def _missing_words(words: Any, problems: Problems) -> tuple[str, ...]:
    """Return words that mean an empty cell in all columns; numbers are refused, as they may be values."""
    entries = (words,) if isinstance(words, str) else words
    if not isinstance(entries, list | tuple):
        problems.add(f"missing is {words!r:.60}; give words that stand for an empty cell, such as [NA, '-'].")
        return ()
    for word in entries:
        if not isinstance(word, str) or WRITTEN_NUMBER.fullmatch(word):
            problems.add(
                f"missing: {word!r:.60} is not a word; say in which column it means an empty cell, such as "
                f"missing: {{age: [{word!r:.60}]}}."
            )
    return tuple(word for word in entries if isinstance(word, str))


def _kind(part: Any, where: str, problems: Problems) -> Kind | None:
    """Build one modality's kind from its plain values; None if that is not possible."""
    if not isinstance(part, Mapping) or part.get("kind") is None:
        example = "such as {kind: image, column: path}"
        problems.add(f"{where} needs a kind and a column, {example}; got {part!r:.60}.")
        return None
    if not isinstance(part["kind"], str) or part["kind"] not in KINDS:
        problems.add(f"{where}: " + unknown("kind", part["kind"], KINDS))
        return None
    cls = KINDS[part["kind"]]
    first, *others = dataclasses.fields(cls)
    hints, keys = get_type_hints(cls), (*KIND_KEYS, *(other.name for other in others))
    problem_count = len(problems.messages)
    values = {first.name: _columns_of(part, hints[first.name], where, problems)}
    for key, value in part.items():
        if key not in keys:
            problems.add(f"{where}: " + unknown("key", key, keys))
        elif key not in KIND_KEYS:
            values[key] = _convert(hints[key], value, f"{where}.{key}", problems)
    if len(problems.messages) > problem_count:
        return None
    try:
        return cls(**values)
    except CommlearnError as problem:
        problems.add(f"{where}: {problem}")
        return None


def kind_to_mapping(kind: Kind) -> dict[str, Any]:
    """Return a kind as plain values, as a schema file states them, without settings at their defaults."""
    columns = [str(column) for column in kind.columns()]
    mapping: dict[str, Any] = {"kind": kind.name}
    mapping |= {"column": columns[0]} if len(columns) == 1 else {"columns": columns}
    for entry in dataclasses.fields(kind)[1:]:
        value = getattr(kind, entry.name)
        if value != entry.default and value != {}:
            if isinstance(value, Pretrained):
                value = value.to_plain()
            elif isinstance(value, nn.Module):
                value = OWN
            mapping[entry.name] = list(value) if isinstance(value, tuple) else value
    return mapping


def plain(value: Any) -> Any:
    """Return a setting with lists in place of tuples, as YAML has them."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _columns_of(part: Mapping[str, Any], hint: Any, location: str, problems: Problems) -> Any:
    """Return the value of `column` or `columns` as the kind's first argument takes it."""
    values = [part[key] for key in ("column", "columns") if part.get(key) is not None]
    if len(values) != 1:
        problems.add(f"{location} needs either column or columns; got {'both' if values else 'neither'}.")
        return None
    names = [str(name) for name in values[0]] if isinstance(values[0], list | tuple) else [str(values[0])]
    if hint is not str:
        return names[0] if len(names) == 1 else tuple(names)
    if len(names) != 1:
        problems.add(f"{location}: {part['kind']} reads one column, got {', '.join(names) or 'none'}.")
        return None
    return names[0]


def _convert(hint: Any, value: Any, location: str, problems: Problems) -> Any:
    """Convert a YAML value to the type that its hint requires; lists become tuples."""
    if get_origin(hint) is UnionType and str in get_args(hint):  # one column or several
        return tuple(map(str, value)) if isinstance(value, list | tuple) else str(value)
    try:
        value = converted(hint, value)
    except WrongValue as problem:
        problems.add(f"{location} is {value!r:.60}; give {problem}.")
    return tuple(value) if isinstance(value, list) else value
