"""What the cells of a column look like: a path to an image, a vector, text, a number, a category."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image as PIL

from commlearn.errors import DataError
from commlearn.kinds.arrays import array_of
from commlearn.kinds.rows import is_empty, spread

__all__ = ["Look", "look"]

SAMPLE = 300  # cells of a column that are looked at
FEW = 100  # different values: at most as many make a category
WORDS = 4  # words that a cell of text has on average, at least
CHARACTERS = 40  # likewise
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2", ".tga"}
AUDIO = (".wav", ".wave")
ARRAYS = (".npy", ".csv")


@dataclass(frozen=True)
class Look:
    """What a column looks like, and why."""

    sort: str  # image, audio, vector, series, text, number, category, labels, or nothing
    reason: str
    filled: int = 0  # cells that are not empty
    distinct: int = 0  # different values; 0 for lists and arrays


def look(column: pd.Series, root: Path) -> Look:
    """What the column looks like, from at most 300 of its cells and the number of its values."""
    if isinstance(column.dtype, pd.ArrowDtype) and pa.types.is_nested(column.dtype.pyarrow_dtype):
        return _arrow(column)
    filled = column[column.notna()]
    if not len(filled):
        return Look("nothing", "every cell is empty")
    if column.dtype.kind == "M" or str(column.dtype).startswith(("date", "time")):
        return Look("nothing", "dates are not read; turn them into numbers, such as days since a date")
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        return _number(filled)
    cells = [cell for cell in (filled.iloc[row] for row in spread(len(filled), SAMPLE)) if not is_empty(cell)]
    if not cells:
        return Look("nothing", "every cell is empty")
    if all(isinstance(cell, str | Path) for cell in cells):
        return _text(filled, [str(cell) for cell in cells], root)
    if all(isinstance(cell, bool | int | float | np.number | np.bool_) for cell in cells):
        return _number(filled)
    return _objects(cells, len(filled), root)


def _arrow(column: pd.Series) -> Look:
    kind = column.dtype.pyarrow_dtype
    filled = int(column.notna().sum())
    inner = getattr(kind, "value_type", None)
    if inner is None:
        return Look("nothing", f"cells of type {kind} are not read")
    if pa.types.is_string(inner) or pa.types.is_large_string(inner):
        return Look("labels", "lists of labels", filled)
    if pa.types.is_nested(inner):
        return Look("series", "lists of lists of numbers: steps with several channels each", filled)
    if not (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
        return Look("nothing", f"lists of {inner} are not read")
    lengths = pc.unique(pc.drop_null(pc.list_value_length(column.array.__arrow_array__()))).to_pylist()
    return _lists([length for length in lengths if length], filled)


def _lists(lengths: list[int], filled: int) -> Look:
    if not lengths:
        return Look("nothing", "every list is empty")
    if len(set(lengths)) == 1:
        return Look("vector", f"lists of {lengths[0]} numbers each", filled)
    return Look("series", f"lists of {min(lengths)} to {max(lengths)} numbers", filled)


def _number(filled: pd.Series) -> Look:
    distinct = int(filled.nunique())
    if distinct == 1:
        return Look("nothing", f"every cell is {filled.iloc[0]}", len(filled), 1)
    return Look("number", "numbers", len(filled), distinct)


def _text(filled: pd.Series, cells: list[str], root: Path) -> Look:
    endings = Counter(Path(cell).suffix.lower() if len(cell) < 500 else "" for cell in cells)
    ending, count = endings.most_common(1)[0]
    pictures = sum(times for suffix, times in endings.items() if suffix in PICTURES)
    if pictures >= 0.9 * len(cells):
        return Look("image", f"paths that end in {ending}", len(filled))
    if sum(endings[suffix] for suffix in AUDIO) >= 0.9 * len(cells):
        return Look("audio", f"paths that end in {ending}", len(filled))
    if ending in ARRAYS and count >= 0.9 * len(cells):
        return _arrays(cells, len(filled), root, f"paths of {ending} files")
    if all(cell.lstrip().startswith("[") for cell in cells):
        found = _objects([_parsed(cell) for cell in cells], len(filled), root)
        return found if found.sort != "labels" else Look("nothing", "lists of labels written as text")
    distinct = int(filled.nunique())
    if distinct == 1:
        return Look("nothing", f"every cell is {cells[0][:40]!r}", len(filled), 1)
    words = sum(len(cell.split()) for cell in cells) / len(cells)
    characters = sum(map(len, cells)) / len(cells)
    told = f"{distinct} different values of {words:.1f} words on average"
    few = distinct <= FEW and distinct <= max(2, len(filled) / 2)
    if (words >= WORDS or characters >= CHARACTERS) and distinct > 20:
        return Look("text", told, len(filled), distinct)
    if few:
        return Look("category", f"{distinct} different values", len(filled), distinct)
    if words >= 2:
        return Look("text", told, len(filled), distinct)
    return Look(
        "nothing", f"{distinct} different short values, as names or codes have", len(filled), distinct
    )


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _objects(cells: list[Any], filled: int, root: Path) -> Look:
    first = cells[0]
    if isinstance(first, dict) and first.get("bytes"):
        first = first["bytes"]
    elif isinstance(first, dict) and first.get("path"):
        return _text(pd.Series([cell["path"] for cell in cells]), [cell["path"] for cell in cells], root)
    if isinstance(first, PIL.Image):
        return Look("image", "PIL images", filled)
    if isinstance(first, bytes | bytearray):
        if first[:4] == b"RIFF" and first[8:12] == b"WAVE":
            return Look("audio", "bytes of WAV files", filled)
        return Look("image", "bytes of image files", filled) if _is_picture(first) else _bytes(filled)
    if isinstance(first, list | tuple) and any(isinstance(part, str) for cell in cells for part in cell):
        return Look("labels", "lists of labels", filled)
    return _arrays(cells, filled, root, "arrays")


def _bytes(filled: int) -> Look:
    return Look("nothing", "bytes that are no image", filled)


def _is_picture(content: bytes | bytearray) -> bool:
    return content[:2] in (b"\xff\xd8", b"BM", b"II", b"MM") or content[:4] in (b"\x89PNG", b"GIF8", b"RIFF")


def _arrays(cells: list[Any], filled: int, root: Path, what: str) -> Look:
    """By shape: pixels are an image, one length a vector, several lengths or channels a series."""
    shapes = set()
    for cell in cells:
        try:
            array = np.asarray(cell) if isinstance(cell, np.ndarray) else array_of(cell, root, outside=True)
        except DataError:
            continue
        shapes.add(array.shape)
        if array.ndim == 3 and array.shape[2] in (1, 3, 4):
            return Look("image", f"{what} of {' x '.join(map(str, array.shape))} values", filled)
        if array.ndim == 2 and array.dtype == np.uint8:
            return Look("image", f"{what} of {array.shape[0]} x {array.shape[1]} bytes", filled)
    if not shapes:
        return Look("nothing", f"none of {len(cells)} cells could be read as numbers: {str(cells[0])[:40]!r}")
    if {len(shape) for shape in shapes} == {1}:
        found = _lists([shape[0] for shape in shapes if shape[0]], filled)
        return Look(found.sort, found.reason.replace("lists", what), filled)
    channels = Counter(shape[-1] for shape in shapes).most_common(1)[0][0]
    return Look("series", f"{what} of several steps by {channels} channels", filled)
