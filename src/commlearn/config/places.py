"""Paths and addresses: removed from artifacts when they are written, and ignored when they are loaded.

An artifact may come from others, and tables are passed as arguments. The same functions clean what is
written and what is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, get_origin, get_type_hints

from commlearn.datasets import READERS
from commlearn.errors import RunError

ENCODERS = ("pretrained", "encoder")  # keys whose text names a pretrained model
SWITCH = "outside"  # key of a modality: whether paths in cells may leave the folder of the table


def data_without_places(data: Any) -> Any:
    """Return an experiment's data settings, reduced to numbers and choices, neither of which is a place.

    Example:
        >>> data_without_places({"name": "table", "table": "/data/t.csv", "schema": {"id": "a"}})
        {'name': 'table', 'table': '', 'schema': {}}
        >>> data_without_places({"name": "trifeature", "size": 64, "pairs": "all"})
        {'name': 'trifeature', 'size': 64, 'pairs': 'all'}
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str) or data["name"] not in READERS:
        return data  # refused when it is read
    reader = READERS[data["name"]]
    parameters, hints = inspect.signature(reader).parameters, get_type_hints(reader.__init__)
    result = {}
    for key, value in data.items():
        if key == "name" or isinstance(value, int | float) or get_origin(hints.get(key)) is Literal:
            result[key] = value
        elif key in parameters and parameters[key].default is inspect.Parameter.empty:
            result[key] = type(value)()
    return result


def without_places(value: Any, key: str = "") -> Any:
    """Return the values with folders of pretrained encoders reduced to their names."""
    if isinstance(value, list):
        return [without_places(entry) for entry in value]
    if isinstance(value, dict):
        return {name: without_places(entry, name) for name, entry in value.items()}
    return place_free(value) if key in ENCODERS and isinstance(value, str) else value


def paths_inside(schema: Any) -> Any:
    """Return a schema, as plain values, in which no modality lets paths leave the folder of the table."""
    modalities = schema.get("modalities") if isinstance(schema, Mapping) else None
    if not isinstance(modalities, Mapping):
        return schema
    return {
        **schema,
        "modalities": {
            name: {key: value for key, value in part.items() if key != SWITCH}
            if isinstance(part, Mapping)
            else part
            for name, part in modalities.items()
        },
    }


def file_inside(folder: Path, name: str, root: Path | None = None) -> Path:
    """Return the path of an artifact's file; refuse a link out of the folder, or out of `root` if given."""
    path = folder / name
    if not path.resolve().is_relative_to((root or folder).resolve()):
        raise RunError(
            f"{path} is a link that leads out of its folder, and was not followed. Copy the folder with the "
            "files in place of links (cp -rL), if you trust the files that the links lead to."
        )
    return path


def settings_without_places(value: Any) -> Any:
    """Return settings to show, with paths of files and folders reduced to their names."""
    if isinstance(value, dict):
        return {key: settings_without_places(entry) for key, entry in without_places(value).items()}
    if isinstance(value, list | tuple):
        return [settings_without_places(entry) for entry in value]
    return place_free(value) if isinstance(value, str) and _is_place(value) else value


def place_free(name: str) -> str:
    """Return the last part of an encoder's or a file's path; keep the whole name of a model on a hub.

    Example:
        >>> place_free("/models/clip"), place_free("owner/model")
        ('clip', 'owner/model')
    """
    if not _is_place(name) and len(Path(name).parts) <= 2:
        return name
    return PureWindowsPath(name.partition("?")[0]).name


def _is_place(text: str) -> bool:
    """Whether this is an address, or a path other than a plain relative one, such as /data or ../data."""
    return (
        text.startswith(("/", "~", "..", "./", "\\\\")) or "://" in text or bool(PureWindowsPath(text).drive)
    )
