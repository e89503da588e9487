"""Guesses of what the cells of a column look like: paths of images, vectors, text, numbers, categories."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image as PIL

from commlearn.errors import DataError
from commlearn.kinds.arrays import Steps, array_of, clock_of, steps_of
from commlearn.kinds.rows import brief, evenly_spaced, is_empty
from commlearn.kinds.series import MOST_STEPS
from commlearn.kinds.written import FORMS, moment_of
from commlearn.tables.guessed_forms import CODE, MANY, amount_in_unit, any_moment, parsed

DATES = (
    "ambiguous dates, such as 3/4/2024; set in `forms` of a tabular modality whether the day or the month "
    "comes first: date-dmy or date-mdy"
)
TIMES = "times without a date are not read; convert them to numbers, such as seconds"
MOST = 0.9  # minimum share of the cells that look alike
NEARLY = 0.8  # share of dates or numbers among many values, from which the rest are marks, such as n.a.
ADDRESS = re.compile(r"[a-z0-9]+://.*", re.IGNORECASE)
WAYS_OUT = {
    "sound is read from .wav files; convert them": (".mp3", ".flac", ".ogg", ".m4a", ".aac", ".opus"),
    "video is not read; give frames as images, or the sound as .wav": (".mp4", ".avi", ".mov", ".mkv"),
    "put the text itself into the cells": (".txt", ".md", ".html", ".pdf", ".docx"),
    "convert them to .npy": (".npz", ".pt", ".h5", ".hdf5", ".mat", ".edf", ".parquet", ".json", ".xlsx"),
    "convert them to .png": (".dcm", ".nii", ".svg", ".heic"),
}


def ending_of(cell: str) -> str:
    """Return the lower-case file ending of text that may be a path or a URL.

    Example:
        >>> ending_of(" img/A.PNG "), ending_of("https://example.org/a.jpg?width=200")
        ('.png', '.jpg')
    """
    name = cell.strip()
    if ADDRESS.fullmatch(name):
        name = re.split(r"[?#]", name)[0]
    return Path(name).suffix.lower() if len(name) < 500 else ""


def unreadable_reason(cells: Sequence[str], distinct: int) -> str:
    """Explain why a column of such text is not read and what to do; "" if it is text or categories.

    Example:
        >>> unreadable_reason(["a.mp3", "b.mp3"], 2)
        'paths that end in .mp3; sound is read from .wav files; convert them'
        >>> unreadable_reason(["red", "blue"], 2)
        ''
    """
    minimum = MOST * len(cells)
    if reason := _explain_unread("dates", cells, any_moment, MOST if distinct <= MANY else NEARLY):
        order = FORMS["date"].learn(pd.Series(cells, dtype=object))["order"]
        ambiguous = not order and any(any_moment(cell) and not moment_of(cell) for cell in cells)
        return DATES if ambiguous else reason
    endings = Counter(map(ending_of, cells))
    for way_out, suffixes in WAYS_OUT.items():
        if sum(endings[ending] for ending in suffixes) >= minimum:
            return f"paths that end in {max(suffixes, key=lambda ending: endings[ending])}; {way_out}"
    if distinct <= MANY:
        return ""
    if sum(ADDRESS.fullmatch(cell.strip()) is not None for cell in cells) >= minimum:
        return "URLs, which are not downloaded; download the files and give their paths"
    codes = any(CODE.fullmatch(cell) for cell in cells) or all(cell.isdigit() for cell in cells)
    return "" if codes else _explain_unread("numbers", cells, amount_in_unit, NEARLY)


def _explain_unread(content: str, cells: Sequence[str], read: Callable[[str], object], share: float) -> str:
    """Explain why a column of mostly dates or numbers is not read; "" if it is not such a column."""
    marks = [cell for cell in cells if read(cell) is None]
    if len(marks) > (1 - share) * len(cells):
        return ""
    if not marks:
        return f"{content} written as text"
    examples = ", ".join(repr(mark[:20]) for mark in dict.fromkeys(marks[:3]))
    way_out = f"correct or empty these, and the column will be read as {content}"
    return f"mostly {content}, except cells such as {examples}; {way_out}"


SAMPLE = 300  # cells of a column to look at, at most
FEW = 100  # maximum number of different values of a category
WORDS = 4  # minimum number of words that a cell of text has on average
CHARACTERS = 40  # the same for characters; either is enough
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2", ".tga")
FILES = {"image": PICTURES, "audio": (".wav", ".wave")}  # endings, by what files hold
ARRAYS = (".npy", ".csv")
NUMBERS = (bool, int, float, Decimal, np.number, np.bool_)
GAPS = 0.05  # share of lists with gaps above which they are series, in which gaps are allowed


@dataclass(frozen=True)
class Look:
    """What a column looks like, and why."""

    sort: str  # image, audio, vector, series, text, number, category, labels, or nothing
    reason: str
    filled: int = 0  # cells that are not empty
    distinct: int = 0  # different values; 0 for lists and arrays


def look(column: pd.Series, root: Path) -> Look:
    """Guess what a column looks like from at most 300 of its cells and its number of different values."""
    filled = column[column.notna()]
    if not len(filled):
        return Look("nothing", "every cell is empty")
    if isinstance(column.dtype, pd.ArrowDtype) and pa.types.is_nested(column.dtype.pyarrow_dtype):
        return _arrow(filled, root)
    if column.dtype.kind == "M":
        return Look("nothing", "dates that do not vary")
    if str(column.dtype).startswith(("date", "time")):
        return Look("nothing", TIMES)
    if pd.api.types.is_complex_dtype(column.dtype):
        return Look("nothing", "complex numbers; give their real and imaginary parts as two columns")
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        return _number(filled)
    cells = [cell for cell in _sample(filled) if not is_empty(cell)]
    if not cells:
        return Look("nothing", "every cell is empty")
    if all(isinstance(cell, str | Path) for cell in cells):
        return _text(filled, [str(cell) for cell in cells], root)
    if all(isinstance(cell, NUMBERS) for cell in cells):
        result = _number(filled)
        category = isinstance(column.dtype, pd.CategoricalDtype) and result.sort == "number"
        return Look("category", "categories", result.filled, result.distinct) if category else result
    return _objects(cells, len(filled), root)


def _sample(filled: pd.Series) -> list[Any]:
    return [filled.iloc[row] for row in evenly_spaced(len(filled), SAMPLE)]


def _arrow(filled: pd.Series, root: Path) -> Look:
    kind = filled.dtype.pyarrow_dtype
    inner, depth = getattr(kind, "value_type", None), 1
    is_file = pa.types.is_struct(kind) and {"bytes", "path"} & {field.name for field in kind}
    if is_file or (inner is not None and pa.types.is_struct(inner)):
        return _objects(_sample(filled), len(filled), root)
    if inner is None or pa.types.is_struct(kind) or pa.types.is_map(kind):
        return Look("nothing", f"cells of type {kind} are not read")
    if pa.types.is_string(inner) or pa.types.is_large_string(inner):
        return Look("labels", "lists of labels, few of which occur in two cells", len(filled))
    while pa.types.is_list(inner) or pa.types.is_large_list(inner) or pa.types.is_fixed_size_list(inner):
        inner, depth = inner.value_type, depth + 1
    if depth > 2 or not (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
        return Look("nothing", f"cells of type {kind} are not read")
    if depth == 2:
        return Look("series", "lists of lists of numbers: steps with several channels each", len(filled))
    lengths = pc.unique(pc.list_value_length(filled.array.__arrow_array__())).to_pylist()
    return _lists(list(filter(None, lengths)), len(filled), map(np.asarray, _sample(filled)), "lists")


def _lists(lengths: Sequence[int], filled: int, arrays: Iterable[np.ndarray], subject: str) -> Look:
    """Guess from the lengths of lists that are not empty, and from how many have gaps."""
    gaps = [bool(pd.isna(array).any()) for array in arrays]
    if not lengths:
        return Look("nothing", "every list is empty", filled)
    if len(set(lengths)) > 1:
        return Look("series", f"{subject} of {min(lengths)} to {max(lengths)} numbers", filled)
    reason = f"{subject} of {lengths[0]} numbers each"
    if sum(gaps) > GAPS * len(gaps):
        return Look("series", f"{reason}, with gaps", filled)
    return Look("vector", reason, filled)


def _number(filled: pd.Series) -> Look:
    distinct = _distinct(filled)
    if distinct == 1:
        return Look("nothing", f"every cell is {filled.iloc[0]}", len(filled), 1)
    return Look("number", "numbers", len(filled), distinct)


def _distinct(filled: pd.Series) -> int:
    """Count the different values; some may be lists, which cannot be hashed."""
    try:
        return int(filled.nunique())
    except TypeError:
        return int(filled.astype(str).nunique())


def _text(filled: pd.Series, cells: list[str], root: Path) -> Look:
    endings = Counter(map(ending_of, cells))
    ending, count = endings.most_common(1)[0]
    for sort, suffixes in FILES.items():
        if sum(endings[suffix] for suffix in suffixes) >= MOST * len(cells):
            return Look(sort, f"paths that end in {ending}", len(filled))
    if ending in ARRAYS and count >= MOST * len(cells):
        return _arrays(cells, len(filled), root, f"paths of {ending} files")
    if all(cell.lstrip().startswith("[") for cell in cells):
        return _objects([parsed(cell, cell) for cell in cells], len(filled), root)
    distinct = _distinct(filled)
    if distinct == 1:
        return Look("nothing", f"every cell is {cells[0][:40]!r}", len(filled), 1)
    if reason := unreadable_reason(cells, distinct):
        return Look("nothing", reason, len(filled))
    words = sum(len(cell.split()) for cell in cells) / len(cells)
    characters = sum(map(len, cells)) / len(cells)
    is_long = (words >= WORDS or characters >= CHARACTERS) and distinct > 20
    sort, reason = "nothing", f"{distinct} different short values, such as names or codes"
    if not is_long and distinct <= min(FEW, max(2, len(filled) / 2)):
        sort, reason = "category", f"{distinct} different values"
    elif is_long or words >= 2:
        sort, reason = "text", f"{distinct} different values of {words:.1f} words on average"
    return Look(sort, reason, len(filled), distinct)


def _objects(cells: list[Any], filled: int, root: Path) -> Look:
    cells = [content for cell in cells if not is_empty(content := _content(cell))]
    if not cells:
        return Look("nothing", "every cell is empty")
    first = cells[0]
    texts = [cell for cell in cells if isinstance(cell, str)]
    if len(texts) == len(cells) and not texts[0].lstrip().startswith("["):
        as_text = _text(pd.Series(texts), texts, root)
        if as_text.sort in ("image", "audio"):
            return Look(as_text.sort, as_text.reason, filled)
        return Look("nothing", f"paths inside cells, such as {texts[0][:40]!r}, are not images or sound")
    if isinstance(first, PIL.Image):
        return Look("image", "PIL images", filled)
    if isinstance(first, bytes | bytearray):
        if first[:4] == b"RIFF" and first[8:12] == b"WAVE":
            return Look("audio", "bytes of WAV files", filled)
        if first[:2] in (b"\xff\xd8", b"BM", b"II", b"MM") or first[:4] in (b"\x89PNG", b"GIF8", b"RIFF"):
            return Look("image", "bytes of image files", filled)
        return Look("nothing", "bytes that are not an image", filled)
    if any(_holds_text(cell) for cell in cells):
        return Look("labels", "lists of labels, few of which occur in two cells", filled)
    if texts and any(isinstance(cell, NUMBERS) for cell in cells):
        reason = f"mixes numbers with text such as {texts[0][:40]!r}; correct these cells"
        return Look("nothing", reason, filled)
    if isinstance(first, time | timedelta):
        return Look("nothing", TIMES, filled)
    if isinstance(first, date):
        return Look("nothing", "dates that do not vary", filled)
    if not hasattr(first, "__len__") or isinstance(first, dict | set | frozenset):
        reason = f"cells of type {type(first).__name__}, such as {brief(first, str)}, are not read"
        return Look("nothing", reason, filled)
    return _arrays(cells, filled, root, "arrays")


def _content(cell: Any) -> Any:
    """Return the bytes or path of a file stored by the `datasets` library, or any other cell unchanged."""
    is_file = isinstance(cell, dict) and not cell.keys().isdisjoint(("bytes", "path"))
    return cell.get("bytes") or cell.get("path") if is_file else cell


def _holds_text(cell: Any) -> bool:
    if isinstance(cell, np.ndarray):
        return cell.ndim > 0 and cell.dtype.kind in "OU" and any(isinstance(part, str) for part in cell)
    return isinstance(cell, list | tuple) and any(isinstance(part, str) for part in cell)


def _steps(cell: Any) -> Steps | None:
    try:
        return steps_of(cell)
    except DataError:
        return None


def _arrays(cells: list[Any], filled: int, root: Path, subject: str) -> Look:
    """Guess from shapes: pixels mean an image, one length a vector, several lengths or channels a series."""
    arrays = []
    for cell in cells:
        try:
            plain = isinstance(cell, np.ndarray) and cell.dtype.kind in "biuf" and cell.ndim > 0
            array = cell if plain else array_of(cell, root, outside=True)
        except DataError:
            continue
        arrays.append(array)
        sizes = " x ".join(map(str, array.shape))
        if array.ndim == 3 and array.shape[2] in (1, 3, 4):
            return Look("image", f"{subject} of {sizes} values", filled)
        if array.ndim == 2 and array.dtype == np.uint8:
            return Look("image", f"{subject} of {array.shape[0]} x {array.shape[1]} bytes", filled)
        if array.ndim > 2:
            reason = f"{subject} of {sizes} are not read; an image has its channels last, a series two axes"
            return Look("nothing", reason, filled)
    if not arrays:
        reason = f"none of {len(cells)} cells could be read as numbers: {str(cells[0])[:40]!r}"
        return Look("nothing", f"{reason}. A list is written as JSON: [0.1, 0.2, null]", filled)
    if {array.ndim for array in arrays} == {1}:
        lengths = sorted({len(array) for array in arrays if len(array)})
        return _lists(lengths, filled, arrays, subject)
    if steps := [part for cell in cells if (part := _steps(cell)) is not None]:
        clock = clock_of(steps, MOST_STEPS)
        description = f"steps of {', '.join(clock.names)}" + (" with times" if clock.step else "")
        return Look("series", "; ".join(filter(None, (description, clock.note()))), filled)
    channels = Counter(array.shape[-1] for array in arrays).most_common(1)[0][0]
    return Look("series", f"{subject} of several steps by {channels} channels", filled)
