"""The file formats of tables, each as chunks of pandas rows with the types of the whole file."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from commlearn.data.parquet_files import ParquetTable, chosen_columns, one_name_each
from commlearn.data.tar_files import TarTable
from commlearn.errors import DataError

__all__ = ["READERS"]

WHOLE = 1 << 62  # rows: more than any file has


def _parquet(path: Path, rows: int, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    return ParquetTable(path).chunks(rows, columns)


def _tar(path: Path, rows: int, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    return TarTable(path).chunks(rows, columns)


def _csv(path: Path, rows: int, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    try:
        with _text(path) as file:
            header = file.readline()
        tab = ".tsv" in path.suffixes
        separator = "\t" if tab else ";" if ";" in header and "," not in header else ","
        names = next(csv.reader([header], delimiter=separator), [])
        if not names:
            return
        one_name_each(names, str(path))
        options = {"sep": separator, "low_memory": False, "index_col": False, "chunksize": rows or WHOLE}
        options["usecols"] = None if columns is None else chosen_columns(names, columns, str(path))
        types: dict[str, str] = {}
        for chunk in _csv_chunks(path, options):
            for name, dtype in chunk.dtypes.items():
                types[str(name)] = _joined(types.get(str(name)), dtype.name)
            if not rows and all(chunk[name].dtype == dtype for name, dtype in types.items()):
                yield chunk
                return
        yield from _csv_chunks(path, {**options, "dtype": types})
    except UnicodeDecodeError as problem:
        raise DataError(_not_utf8(path)) from problem
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as problem:
        raise DataError(f"{path} cannot be read as a table: {str(problem).strip()}") from problem


def _csv_chunks(path: Path, options: Mapping[str, Any]) -> Iterator[pd.DataFrame]:
    with _text(path) as file, pd.read_csv(file, **options) as reader:
        while True:
            with warnings.catch_warnings():  # pandas drops cells that stand beyond the header, and only warns
                warnings.simplefilter("error", pd.errors.ParserWarning)
                chunk = next(reader, None)
            if chunk is None:
                return
            yield chunk


def _joined(before: str | None, now: str) -> str:
    """The type that holds both; what is no number, or mixes truth values with anything, is text."""
    known = {"int64", "uint64", "float64", "bool"}
    if before is None or before == now:
        return now if now in known else "str"
    return "float64" if {before, now} <= {"int64", "float64"} else "str"


def _json_lines(path: Path, rows: int, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    types: dict[str, set[type]] = {}
    seen: dict[str, int] = {}
    count = 0
    for record in _objects(path):
        count += 1
        for name, value in record.items():
            huge = type(value) is int and not -(1 << 63) <= value < 1 << 63
            types.setdefault(name, set()).add(float if huge else type(value))
            seen[name] = seen.get(name, 0) + 1
    for name, times in seen.items():
        if times < count:
            types[name].add(type(None))
    names = chosen_columns(list(types), columns, str(path)) if count else []
    records = _objects(path)
    while part := list(itertools.islice(records, rows or count)):
        yield _frame(part, names, types)


def _frame(
    records: list[dict[str, Any]], names: Sequence[str], types: Mapping[str, set[type]]
) -> pd.DataFrame:
    series = {}
    for name in names:
        values = [record.get(name) for record in records]
        kinds = types[name]
        if kinds <= {int, float, type(None)} and kinds != {type(None)}:
            dtype: Any = np.int64 if kinds == {int} else np.float64
        else:
            dtype = bool if kinds == {bool} else object
        column = np.empty(len(values), dtype=dtype)
        for row, value in enumerate(values):
            column[row] = np.nan if value is None and dtype is np.float64 else value
        series[name] = pd.Series(column, dtype="str" if kinds <= {str, type(None)} else None)
    return pd.DataFrame(series)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    line, number = "", 0
    try:
        with _text(path) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise DataError(f"{path}, line {number}: {line.strip()[:60]} is not an object {{...}}.")
                yield record
    except UnicodeDecodeError as problem:
        raise DataError(_not_utf8(path)) from problem
    except json.JSONDecodeError as problem:
        told = f"{path}, line {number} is not JSON ({problem.msg}): {line.strip()[:60]}"
        raise DataError(told) from problem


def _text(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(_binary(path), encoding="utf-8-sig", newline="")


def _binary(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _not_utf8(path: Path) -> str:
    with _binary(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as problem:
                byte = f"byte {problem.start + 1} (0x{line[problem.start]:02x})"
                return f"{path}, line {number}, {byte} is not UTF-8. Save the file as UTF-8."
    return f"{path} is not UTF-8. Save the file as UTF-8."


READERS = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".tar": _tar,
}
