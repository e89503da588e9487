"""The file formats of tables, each read as chunks of pandas rows with the types of the whole file."""

from __future__ import annotations

import itertools
import math
import re
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from commlearn.errors import DAMAGED, ConfigurationError, DataError, DataWarning
from commlearn.storage.plain_files import check_unpacked, plain_file
from commlearn.storage.plain_json import parse_json
from commlearn.tables.formats.csv_files import read_csv
from commlearn.tables.formats.parquet_files import (
    EXACT,
    ParquetTable,
    arrow_to_pandas,
    chosen_columns,
    one_name_each,
)
from commlearn.tables.formats.reading import Reading
from commlearn.tables.formats.tar_files import TarTable
from commlearn.tables.formats.text_files import open_text, read_decoded
from commlearn.tables.formats.written_numbers import CODE

LONG = np.int64  # stands for whole numbers that floats cannot hold exactly
NUMBERS = (int, LONG, float)
DAMAGED_BOOK = (*DAMAGED, OSError, SyntaxError, zipfile.BadZipFile, NotImplementedError, MemoryError)


def _parquet(
    path: Path, rows: int, columns: Sequence[str] | None, reading: Reading
) -> Iterator[pd.DataFrame]:
    return ParquetTable(path).chunks(rows, columns)


def _tar(path: Path, rows: int, columns: Sequence[str] | None, reading: Reading) -> Iterator[pd.DataFrame]:
    return TarTable(path).chunks(rows, columns)


def _json_lines(
    path: Path, rows: int, columns: Sequence[str] | None, reading: Reading
) -> Iterator[pd.DataFrame]:
    return read_decoded(path, reading, lambda reading: _lines(path, rows, columns, reading))


def _lines(path: Path, rows: int, columns: Sequence[str] | None, reading: Reading) -> Iterator[pd.DataFrame]:
    types: dict[str, set[type]] = {}
    occurrences: dict[str, int] = {}
    count = 0
    for record in _objects(path, reading.encoding):
        count += 1
        for name, value in record.items():
            types.setdefault(name, set()).add(_type(value, name in reading.names))
            occurrences[name] = occurrences.get(name, 0) + 1
    for name, number in occurrences.items():
        if number < count:
            types[name].add(type(None))
    names = chosen_columns(list(types), columns, str(path)) if count else []
    records = _objects(path, reading.encoding)
    while part := list(itertools.islice(records, rows or count)):
        yield _frame(part, names, types)


def _frame(
    records: list[dict[str, Any]], names: Sequence[str], types: Mapping[str, set[type]]
) -> pd.DataFrame:
    columns = {name: _column([record.get(name) for record in records], types[name]) for name in names}
    return pd.DataFrame(columns)


def _column(values: list[Any], kinds: set[type]) -> pd.Series:
    """Return one column with the type that fits its cells in the whole file."""
    if kinds <= {*NUMBERS, type(None)} and kinds != {type(None)}:
        if LONG in kinds and kinds <= {int, LONG, type(None)}:
            return pd.Series(pd.array(values, dtype="Int64"))
        if kinds == {int}:
            return pd.Series(np.array(values, dtype=np.int64))
        return pd.Series(np.array([_as_float(value) for value in values]))
    column = np.empty(len(values), dtype=bool if kinds == {bool} else object)
    for row, value in enumerate(values):
        column[row] = value
    return pd.Series(column, dtype="str" if kinds <= {str, type(None)} else None)


def _type(value: Any, is_name: bool) -> type:
    """Return the type of one cell; a whole number beyond 64 bits is a float, unless it is a name."""
    if type(value) is not int or -EXACT <= value <= EXACT:
        return type(value)
    if -(1 << 63) <= value < 1 << 63:
        return LONG
    return object if is_name else float


def _as_float(value: float | None) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.inf if value and value > 0 else -math.inf


def _objects(path: Path, encoding: str) -> Iterator[dict[str, Any]]:
    line, number = "", 0
    try:
        with open_text(path, encoding) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                record = parse_json(line)
                if not isinstance(record, dict):
                    raise DataError(f"{path}, line {number}: {line.strip()[:60]} is not an object {{...}}.")
                yield record
    except UnicodeError:
        raise
    except ValueError as problem:
        raise DataError(f"{path}, line {number} is not JSON ({problem}): {line.strip()[:60]!r}") from problem


def _feather(
    path: Path, rows: int, columns: Sequence[str] | None, reading: Reading
) -> Iterator[pd.DataFrame]:
    try:
        table = feather.read_table(plain_file(path), memory_map=False)
    except pa.ArrowException as problem:
        raise DataError(f"{path} cannot be read: {problem}. Is it cut off?") from problem
    one_name_each(table.column_names, str(path))
    table = table.select(chosen_columns(table.column_names, columns, str(path)))
    return slices(arrow_to_pandas(table.replace_schema_metadata()), rows)


def _excel(path: Path, rows: int, columns: Sequence[str] | None, reading: Reading) -> Iterator[pd.DataFrame]:
    """Read the first sheet that is not empty; a warning names the others that are not."""
    if find_spec("openpyxl") is None:
        raise ConfigurationError(f"{path} needs openpyxl: pip install 'commlearn[excel]'. Or save it as CSV.")
    try:
        with zipfile.ZipFile(plain_file(path)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        check_unpacked(str(path), size, path.stat().st_size)
        with pd.ExcelFile(path, engine="openpyxl") as book:
            types: dict[str, Any] = defaultdict(lambda: object, dict.fromkeys(reading.names, str))
            options = {"keep_default_na": False, "na_values": [""], "dtype": types}
            sheets = {name: pd.read_excel(book, sheet_name=name, **options) for name in book.sheet_names}
    except DAMAGED_BOOK as problem:
        raise DataError(f"{path} cannot be read as .xlsx: {problem}. Save it again, or as CSV.") from problem
    filled = {name: sheet for name, sheet in sheets.items() if len(sheet)}
    if len(filled) > 1:
        first, *others = filled
        message = f"{path}: only sheet '{first}' is read, not {', '.join(map(repr, others))}"
        warnings.warn(DataWarning(message), stacklevel=2)
    frame = next(iter(filled.values()), pd.DataFrame()).rename(columns=str).apply(_infer_type)
    names = list(frame.columns)
    one_name_each(names, str(path))
    return slices(frame[chosen_columns(names, columns, str(path))] if len(frame) else frame, rows)


def _infer_type(column: pd.Series) -> pd.Series:
    """Give a sheet's column the type of its cells; numbers as text become numbers, unless one is a code."""
    texts = [cell for cell in column if isinstance(cell, str)] if column.dtype == object else []
    if texts and not any(re.fullmatch(CODE, text) for text in texts):
        with suppress(ValueError, TypeError):
            return pd.to_numeric(column)
    return column.infer_objects()


def slices(frame: pd.DataFrame, rows: int) -> Iterator[pd.DataFrame]:
    """Return the table in chunks of at most `rows` rows; 0 returns it as one chunk."""
    return (
        frame.iloc[start : start + (rows or len(frame))]
        for start in range(0, len(frame), rows or len(frame) or 1)
    )


PACKED = (".csv", ".tsv", ".jsonl", ".ndjson")  # endings that are also read as .gz
FORMATS = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".tar": _tar,
    ".feather": _feather,
    ".xlsx": _excel,
}


def format_of(path: PurePath) -> str:
    """Return the lower-case ending of a table's files; it is not in `FORMATS` if they cannot be read.

    Example:
        >>> format_of(Path("a.CSV.gz")), format_of(Path("a.parquet.gz"))
        ('.csv', '.parquet.gz')
    """
    if isinstance(path, Path) and path.is_dir():
        endings = {file.suffix.lower() for file in path.glob("*")}
        return ".tar" if ".tar" in endings and ".parquet" not in endings else ".parquet"
    ending, inner = path.suffix.lower(), PurePath(path.stem).suffix.lower()
    if ending != ".gz":
        return ending
    return inner if inner in PACKED else inner + ending
