"""What all formats share: settings for reading cells, the choice of columns, and text in any encoding.

Errors about an encoding name the first wrong byte.
"""

from __future__ import annotations

import gzip
import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import pandas as pd

from commlearn.errors import LOOKED_UP, MISSPELT, DataError, DataWarning, nearest, unknown
from commlearn.storage.plain_files import Unpacked, plain_file

Frames: TypeAlias = Iterator[pd.DataFrame]
MIDNIGHT = " 00:00:00"  # time of day of a plain date, which only some formats write


@dataclass(frozen=True)
class Reading:
    """How the cells of a table are read if its format does not determine it."""

    names: frozenset[str] = frozenset()  # columns whose cells are names: `007` is not the number 7
    missing: tuple[str, ...] = ()  # words that mean an empty cell in every column
    missing_in: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # words or numbers, by column
    encoding: str = ""  # encoding of text files; if not given, UTF-8 or guessed from their bytes
    texts: frozenset[str] = frozenset()  # those names that stay text even if all are whole numbers

    def emptied(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with values that mean an empty cell made empty.

        Example:
            >>> Reading(missing_in={"age": [-999]}).emptied(pd.DataFrame({"age": [31, -999]}))["age"].tolist()
            [31.0, nan]
        """
        columns = {}
        for name in frame if self.missing or self.missing_in else ():
            values, column = (*self.missing, *self.missing_in.get(name, ())), frame[name]
            is_text = isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype)
            if values and (is_text or column.dtype == object):  # objects may be text
                columns[name] = column.mask(_is_one_of(column, values), None)
            elif name in self.missing_in and pd.api.types.is_numeric_dtype(column):
                hit = column.isin(_numbers(values)).to_numpy()
                columns[name] = column.mask(hit, np.nan) if hit.any() else column
            elif name in self.missing_in and pd.api.types.is_datetime64_any_dtype(column):
                columns[name] = column.mask(_is_stated_time(column, values))
        return frame.assign(**columns) if columns else frame


def _numbers(values: Sequence[Any]) -> list[Any]:
    """Return those values that are numbers, including numbers written as text."""
    numbers = []
    for value in values:
        with suppress(ValueError):
            numbers.append(float(value) if isinstance(value, str) else value)
    return numbers


def _is_stated_time(column: pd.Series, values: Sequence[Any]) -> pd.Series:
    """Return which times are among these values, written as text files write them."""
    texts = column.astype("str").str.removesuffix(MIDNIGHT)
    return texts.isin([str(value).strip().removesuffix(MIDNIGHT) for value in values])


def _is_one_of(column: pd.Series, values: Sequence[Any]) -> pd.Series:
    words = [str(value) for value in values]
    if isinstance(column.dtype, pd.StringDtype):
        return column.str.strip().isin(words)
    numbers, times = _numbers(values), [word.strip().removesuffix(MIDNIGHT) for word in words]

    def is_one(cell: Any) -> bool:  # some cells cannot be compared with text, such as arrays
        if isinstance(cell, str):
            return cell.strip() in words
        if isinstance(cell, date):
            return str(cell).removesuffix(MIDNIGHT) in times
        return isinstance(cell, int | float | Decimal | np.number) and cell in numbers

    return column.astype(object).map(is_one).astype(bool)


PLAIN = Reading()
Reader: TypeAlias = Callable[[Path, int, Sequence[str] | None, Reading], Frames]
"""Yields the columns of a file in chunks of at most so many rows; 0 yields the whole file as one chunk."""


def one_name_each(names: Sequence[str], where: str) -> None:
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        message = f"{where} has two columns with the same name: {', '.join(repeated)}. Rename one of each."
        raise DataError(message)


def chosen_columns(names: Sequence[str], columns: Sequence[str] | None, where: str) -> list[str]:
    """Return the requested columns that there are, in their order, and those that may be misspelt ones.

    Example:
        >>> chosen_columns(["id", "Note", "age"], ["note", "age"], "a.csv")
        ['Note', 'age']
    """
    requested = set(names if columns is None else columns)
    if columns and requested.isdisjoint(names):
        raise DataError(f"{where}: " + unknown("column", columns[0], names))
    present, others = set(names), [name for name in names if name not in requested]
    missing = [column for column in columns or () if column not in present] if others else []
    similar = {nearest(column, others, MISSPELT) for column in missing[:LOOKED_UP]}
    return [name for name in names if name in requested or name in similar]


UTF8 = "utf-8-sig"  # skips the byte order mark that some programs write
BLOCK = 1 << 20  # bytes to read at a time
SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
PRINTED = {*b"\t\n\r\f", *range(32, 127), *range(128, 256)} - {0x81, 0x8D, 0x8F, 0x90, 0x9D}  # cp1252
ZEROS = 0.2  # share of zero bytes from which text may be UTF-16


def open_text(path: Path, encoding: str = "") -> io.TextIOWrapper:
    """Open a file as text, UTF-8 by default; line endings are not changed."""
    return io.TextIOWrapper(_binary(path), encoding=encoding or UTF8, newline="")


def _guessed_encoding(path: Path) -> str:
    """Guess an encoding from the file's bytes; a warning names it. UTF-8 with wrong bytes is refused."""
    encoding = _utf16(path) or _western(path)
    if not encoding:
        raise _not_in_encoding(path)
    detail = "" if encoding.startswith("utf") else f" (Western European; {_locate_wrong_byte(path, 'utf-8')})"
    message = f"{path} is not UTF-8 and is read as {encoding}{detail}"
    warnings.warn(DataWarning(f"{message}. If letters look wrong, set encoding in the schema"), stacklevel=4)
    return encoding


def read_decoded(
    read: Reader, path: Path, rows: int, columns: Sequence[str] | None, reading: Reading
) -> Frames:
    """Yield what `read` yields for a text file; if it is not UTF-8, read it again in a guessed encoding.

    Args:
        read: reads in the encoding that a reading names, or UTF-8; raises UnicodeError before the first rows.
        path: path of the file.
        rows: most rows of a chunk.
        columns: columns to read, all if not given.
        reading: may name the encoding; otherwise UTF-8 is tried first.
    """
    try:
        yield from read(path, rows, columns, reading)
    except UnicodeError as problem:
        if reading.encoding:
            raise _not_in_encoding(path, reading.encoding) from problem
        yield from read(path, rows, columns, replace(reading, encoding=_guessed_encoding(path)))


def _not_in_encoding(path: Path, encoding: str = "utf-8") -> DataError:
    name = "UTF-8" if encoding == "utf-8" else encoding
    way_out = "Save the file as UTF-8" if encoding == "utf-8" else "Set another encoding in the schema"
    return DataError(f"{path}, {_locate_wrong_byte(path, encoding)} is not {name}. {way_out}.")


def _locate_wrong_byte(path: Path, encoding: str) -> str:
    with _binary(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as problem:
                return f"line {number}, byte {problem.start + 1} (0x{line[problem.start]:02x})"
    return "its end"


def _utf16(path: Path) -> str:
    """Detect UTF-16 by its mark, or by many zeros at every second byte, which Western text has."""
    with _binary(path) as file:
        start = file.read(BLOCK)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    zeros = [start[offset::2].count(0) for offset in (0, 1)]
    if sum(zeros) < ZEROS * len(start) or min(zeros) > ZEROS * max(zeros):
        return ""
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def _western(path: Path) -> str:
    """Detect cp1252, which includes latin-1: all bytes are printable in it, and few look like UTF-8."""
    sequences = others = 0
    with _binary(path) as file:
        while block := file.read(BLOCK):
            if not set(block) <= PRINTED:
                return ""
            rest, count = SEQUENCE.subn(b"", block)
            sequences += count
            others += sum(byte > 127 for byte in rest)
    return "cp1252" if others > sequences else ""


def _binary(path: Path) -> BinaryIO:
    plain_file(path)
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    return io.BufferedReader(Unpacked(gzip.open(path), path), 1 << 16)  # type: ignore[arg-type]
