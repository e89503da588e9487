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
import pyarrow as pa
import pyarrow.parquet as pq

from commlearn.errors import DataError, unknown

__all__ = ["READERS", "chosen_columns", "one_name_each"]

CHUNK = 65_536  # rows
WHOLE = 1 << 62  # rows: more than any file has


def _parquet(path: Path, rows: int, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    paths = sorted(path.glob("*.parquet")) + sorted(path.glob("*.pq")) if path.is_dir() else [path]
    if not paths:
        raise DataError(
            f"The folder {path} holds no .parquet file. Give a file, or a folder of Parquet files."
        )
    schema, integers = _parquet_schema(paths)
    kept = [name for name in schema.names if not name.startswith("__index_level_")]  # pandas' unnamed index
    names = chosen_columns(kept, columns, str(path))
    wanted = pa.schema([_as_read(schema.field(name), integers) for name in names])
    parts = (batch for one in paths for batch in _batches(one, names, rows or CHUNK))
    tables = (pa.Table.from_batches([batch]).select(names).cast(wanted) for batch in parts)
    if not rows:
        read = list(tables)
        yield _to_pandas(pa.concat_tables(read)) if read else pd.DataFrame(columns=names)
        return
    for table in tables:
        yield _to_pandas(table)


def _batches(path: Path, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(batch_size=rows, columns=list(names)):
                batch.validate(full=True)  # text that is not UTF-8 would fail where it is used
                yield batch
    except (pa.ArrowException, OSError) as problem:
        raise DataError(f"{path} cannot be read as Parquet: {problem}. Is it cut off?") from problem


def _parquet_schema(paths: Sequence[Path]) -> tuple[pa.Schema, set[str]]:
    """The columns of all files, and which whole-number columns may have missing cells."""
    schemas: list[pa.Schema] = []
    holed: set[str] = set()
    for path in paths:
        try:
            metadata = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as problem:
            raise DataError(f"{path} cannot be read as Parquet: {problem}. Is it cut off?") from problem
        schema = metadata.schema.to_arrow_schema().remove_metadata()
        one_name_each(schema.names, str(path))
        if schemas and set(schema.names) != set(schemas[0].names):
            odd = sorted(set(schema.names) ^ set(schemas[0].names))
            raise DataError(
                f"{path} has other columns than {paths[0].name}: {', '.join(odd)} are in one only."
            )
        schemas.append(schema)
        for group in range(metadata.num_row_groups):
            for position in range(metadata.num_columns):
                column = metadata.row_group(group).column(position)
                counted = column.statistics is not None and column.statistics.has_null_count
                if not counted or column.statistics.null_count:
                    holed.add(column.path_in_schema)
    try:
        return pa.unify_schemas(schemas, promote_options="permissive"), holed
    except pa.ArrowException as problem:
        raise DataError(f"The files of {paths[0].parent} differ in a column's type: {problem}") from problem


def _as_read(column: pa.Field, integers_with_holes: set[str]) -> pa.Field:
    if pa.types.is_integer(column.type) and column.name in integers_with_holes:
        return column.with_type(pa.float64()).with_nullable(True)
    return column


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """Lists stay Arrow's: a column of vectors costs its numbers, not an object a row."""

    def dtype(kind: pa.DataType) -> pd.ArrowDtype | None:
        lists = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
        return pd.ArrowDtype(kind) if lists else None

    return table.to_pandas(types_mapper=dtype)


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


def one_name_each(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise DataError(f"{where} has two columns of one name: {', '.join(twice)}. Rename one of each.")


def chosen_columns(names: Sequence[str], columns: Sequence[str] | None, where: str) -> list[str]:
    chosen = [name for name in names if columns is None or name in columns]
    if columns and not chosen:
        raise DataError(f"{where}: " + unknown("column", columns[0], names))
    return chosen


READERS = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
