"""Parquet files as one table: chunk by chunk, or row group by row group in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from commlearn.errors import DataError, unknown
from commlearn.storage.checksums import check_parts
from commlearn.storage.places import find_files

CHUNK = 65_536  # rows of a chunk
SMALL = 64 << 20  # bytes of a file below which its columns are read at once
EXACT = 2**53  # whole numbers up to here are exact as floats
LONG = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
INCONVERTIBLE = (pa.ArrowException, ValueError, OverflowError, NotImplementedError)


class RowGroup(NamedTuple):
    """A row group of a Parquet file."""

    path: str
    number: int  # position in its file
    rows: int
    footer: pq.FileMetaData  # its file's footer; reading it again for every group would take most of the time


class ParquetTable:
    """The rows of one file or of all files in a folder, with column types that fit all of them."""

    def __init__(self, source: str | Path) -> None:
        self.files = find_files(source, (".parquet", ".pq"))
        if isinstance(self.files.filesystem, fs.LocalFileSystem):
            check_parts(self.files.paths, whole=self.files.paths != (str(source),))
        self.groups: list[RowGroup] = []
        self.schema, self.integers_with_holes, self.long_integers = self._footers()

    @property
    def sizes(self) -> list[int]:
        """Rows of each group, in the table's order."""
        return [group.rows for group in self.groups]

    @property
    def root(self) -> Path:
        return self.files.root

    def chunks(self, rows: int, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
        """Yield the table in chunks of at most `rows` rows; 0 yields it as one chunk."""
        names, schema = self._selection(columns)
        batches = (batch for path in self.files.paths for batch in self._batches(path, names, rows or CHUNK))
        tables = (_cast(pa.Table.from_batches([batch]).select(names), schema) for batch in batches)
        if not rows:
            loaded = list(tables)
            yield self._to_pandas(pa.concat_tables(loaded)) if loaded else pd.DataFrame(columns=names)
            return
        for table in tables:
            yield self._to_pandas(table)

    def read(self, group: int, columns: Sequence[str] | None) -> pd.DataFrame:
        """Return the rows of one group."""
        path, number, _, footer = self.groups[group]
        names, schema = self._selection(columns)
        try:
            with pq.ParquetFile(path, metadata=footer, filesystem=self.files.filesystem) as file:
                table = file.read_row_group(number, columns=names, use_threads=False)
                table.validate(full=True)
        except (pa.ArrowException, OSError) as problem:
            raise _unreadable(path, problem) from problem
        return self._to_pandas(_cast(table.select(names), schema))

    def _selection(self, columns: Sequence[str] | None) -> tuple[list[str], pa.Schema]:
        fields = [
            name for name in self.schema.names if not name.startswith("__index_level_")
        ]  # pandas' index
        names = chosen_columns(fields, columns, self.files.label)
        return names, pa.schema([self._as_read(self.schema.field(name)) for name in names])

    def _as_read(self, column: pa.Field) -> pa.Field:
        if column.type == pa.time64("ns"):  # Python's times have a resolution of microseconds
            return column.with_type(pa.time64("us"))
        if pa.types.is_integer(column.type) and column.name in self.integers_with_holes:
            return column if self._is_long(column) else column.with_type(pa.float64()).with_nullable(True)
        return column

    def _is_long(self, column: pa.Field) -> bool:
        """Whether an integer column has gaps, and may have numbers that floats cannot hold exactly."""
        return column.type in LONG and column.name in self.integers_with_holes & self.long_integers

    def _to_pandas(self, table: pa.Table) -> pd.DataFrame:
        try:
            for column in table.schema:
                _check_zone(table[column.name])
            return arrow_to_pandas(table, {column.name for column in table.schema if self._is_long(column)})
        except INCONVERTIBLE:
            for name in table.column_names:
                self._refuse(name, table[name])
            raise

    def _refuse(self, name: str, column: pa.ChunkedArray) -> None:
        try:
            _check_zone(column)
            column.to_pandas(types_mapper=_list_type)
        except INCONVERTIBLE as problem:
            raise DataError(
                f"{self.files.label}, column {name}: its cells of type {column.type} cannot be read: "
                f"{problem}. Write the column as text or as numbers, or leave it out."
            ) from problem

    def _batches(self, path: str, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        # parts of a large file are read as needed, at the cost of allocating whatever size a page claims
        buffer = 0 if self.files.size(path) < SMALL else 1 << 20
        try:
            with pq.ParquetFile(
                path, filesystem=self.files.filesystem, pre_buffer=False, buffer_size=buffer
            ) as file:
                for batch in file.iter_batches(batch_size=rows, columns=list(names)):
                    batch.validate(full=True)  # otherwise text that is not UTF-8 would fail where it is used
                    yield batch
        except (pa.ArrowException, OSError) as problem:
            raise _unreadable(path, problem) from problem

    def _footers(self) -> tuple[pa.Schema, set[str], set[str]]:
        """Return the columns of all files, which may have missing cells, and which numbers beyond 2^53."""
        schemas: list[pa.Schema] = []
        with_holes: set[str] = set()
        long: set[str] = set()
        paths = self.files.paths
        for path in paths:
            try:
                metadata = pq.read_metadata(path, filesystem=self.files.filesystem)
            except (pa.ArrowException, OSError) as problem:
                raise _unreadable(path, problem) from problem
            schema = metadata.schema.to_arrow_schema().remove_metadata()
            one_name_each(schema.names, path)
            if schemas and set(schema.names) != set(schemas[0].names):
                difference = sorted(set(schema.names) ^ set(schemas[0].names))
                raise DataError(
                    f"{path} has different columns from {Path(paths[0]).name}: {', '.join(difference)} are "
                    "in only one of them."
                )
            schemas.append(schema)
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                self.groups.append(RowGroup(path, number, group.num_rows, metadata))
                with_holes |= _columns_with_holes(group)
                long |= _long_columns(group)
        try:
            return pa.unify_schemas(schemas, promote_options="permissive"), with_holes, long
        except pa.ArrowException as problem:
            raise DataError(
                f"The files of {self.files.label} differ in a column's type: {problem}"
            ) from problem


def _columns_with_holes(group: pq.RowGroupMetaData) -> set[str]:
    columns = [group.column(position) for position in range(group.num_columns)]
    return {
        column.path_in_schema
        for column in columns
        if column.statistics is None or not column.statistics.has_null_count or column.statistics.null_count
    }


def _long_columns(group: pq.RowGroupMetaData) -> set[str]:
    """Return 64-bit integer columns with numbers beyond 2^53, or whose statistics do not rule them out."""
    columns = [group.column(position) for position in range(group.num_columns)]
    return {column.path_in_schema for column in columns if _may_be_long(column)}


def _may_be_long(column: pq.ColumnChunkMetaData) -> bool:
    numbers = column.statistics
    if column.physical_type != "INT64" or numbers is None:
        return column.physical_type == "INT64"
    if numbers.logical_type.type not in ("INT", "NONE") or not numbers.num_values:  # times, or no cells
        return False
    return not (numbers.has_min_max and -EXACT <= numbers.min <= numbers.max <= EXACT)


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast columns to the types they are read as; floats are rounded, and times lose their nanoseconds."""
    try:
        columns = [
            column.cast(
                options=pc.CastOptions(field.type, allow_float_truncate=True, allow_time_truncate=True)
            )
            for column, field in zip(table.columns, schema, strict=True)
        ]
    except pa.ArrowException as problem:
        raise DataError(f"The table's files differ in a column's type: {problem}") from problem
    return pa.table(columns, schema=schema)


def _unreadable(path: str, problem: Exception) -> DataError:
    return DataError(f"{path} cannot be read as Parquet: {problem}. Is it cut off?")


def _check_zone(column: pa.ChunkedArray) -> None:
    """Raise an error if a time cannot be expressed in its zone: Python's calendar ends with the year 9999."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        pc.min_max(column).as_py()


def arrow_to_pandas(table: pa.Table, long: set[str] | None = None) -> pd.DataFrame:
    """Convert a table to pandas; lists of numbers stay in Arrow's types, and whole numbers stay exact.

    Args:
        table: the Arrow table.
        long: columns of whole numbers with gaps that floats may not hold exactly; if not given, they are
            found from the cells.

    Example:
        >>> arrow_to_pandas(pa.table({"id": [2**53 + 1, None]}))["id"].tolist()
        [9007199254740993, <NA>]
    """
    frame = table.to_pandas(types_mapper=_list_type)
    for column, cells in zip(table.schema, table.columns, strict=True):
        if column.name in long if long is not None else _is_long(cells):
            frame[column.name] = cells.to_pandas(types_mapper=LONG.get).set_axis(frame.index)
    return frame


def _is_long(cells: pa.ChunkedArray) -> bool:
    """Whether whole numbers have gaps, and some are too large to be exact as floats."""
    if cells.type not in LONG or not 0 < cells.null_count < len(cells):
        return False
    ends = pc.min_max(cells).as_py()
    return not -EXACT <= ends["min"] <= ends["max"] <= EXACT


def _list_type(kind: pa.DataType) -> pd.ArrowDtype | None:
    """Keep lists in Arrow's types: a column of vectors then costs its numbers, not one object per row."""
    lists = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
    return pd.ArrowDtype(kind) if lists and not _holds_times(kind) else None


def _holds_times(kind: pa.DataType) -> bool:
    """Whether a type contains times. Some exceed Python's range, which conversion on reading reveals."""
    inner_types = [kind.field(index).type for index in range(kind.num_fields)]
    return pa.types.is_temporal(kind) or any(_holds_times(part) for part in inner_types)


def one_name_each(names: Sequence[str], where: str) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DataError(
            f"{where} has two columns with the same name: {', '.join(repeated)}. Rename one of each."
        )


def chosen_columns(names: Sequence[str], columns: Sequence[str] | None, where: str) -> list[str]:
    requested = None if columns is None else set(columns)
    chosen = [name for name in names if requested is None or name in requested]
    if columns and not chosen:
        raise DataError(f"{where}: " + unknown("column", columns[0], names))
    return chosen
