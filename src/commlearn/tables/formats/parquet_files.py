"""Parquet files as one table: chunk by chunk, or row group by row group in any order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from commlearn.errors import DataError
from commlearn.storage.fingerprint import check_parts
from commlearn.storage.places import find_files
from commlearn.tables.formats.reading import Frames, chosen_columns, one_name_each

CHUNK = 65_536  # rows of a chunk
SMALL = 64 << 20  # bytes of a file below which its columns are read at once
INDEX = "__index_level_"  # beginning of the name that pandas gives an index without a name
EXACT = 2**53  # whole numbers up to here are exact as floats
LONG = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
INCONVERTIBLE = (pa.ArrowException, ValueError, OverflowError, NotImplementedError)


class ParquetTable:
    """The rows of one file or of all files in a folder, with column types that fit all of them."""

    def __init__(self, source: str | Path) -> None:
        self.files = find_files(source, (".parquet", ".pq"))
        if isinstance(self.files.filesystem, fs.LocalFileSystem):
            check_parts(self.files.paths, whole=self.files.paths != (str(source),))
        self.root = self.files.root
        # each group's file, position in it, and the file's footer: rereading that would take most of the time
        self.groups: list[tuple[str, int, pq.FileMetaData]] = []
        self.sizes: list[int] = []  # rows of each group
        self.schema, self.integers_with_holes, self.long_integers = self._footers()

    def chunks(self, rows: int, columns: Sequence[str] | None) -> Frames:
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
        path, number, footer = self.groups[group]
        names, schema = self._selection(columns)
        try:
            with pq.ParquetFile(path, metadata=footer, filesystem=self.files.filesystem) as file:
                table = file.read_row_group(number, columns=names, use_threads=False)
                table.validate(full=True)
        except (pa.ArrowException, OSError) as problem:
            raise _unreadable(path, problem) from problem
        return self._to_pandas(_cast(table.select(names), schema))

    def _selection(self, columns: Sequence[str] | None) -> tuple[list[str], pa.Schema]:
        not_pandas_index = [name for name in self.schema.names if not name.startswith(INDEX)]
        names = chosen_columns(not_pandas_index, columns, self.files.label)
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
            for name, column in zip(table.column_names, table.columns, strict=True):
                try:
                    _check_zone(column)
                    column.to_pandas(types_mapper=_list_type)
                except INCONVERTIBLE as problem:
                    raise DataError(
                        f"{self.files.label}, column {name}: its cells of type {column.type} cannot be read: "
                        f"{problem}. Write the column as text or as numbers, or leave it out."
                    ) from problem
            raise

    def _batches(self, path: str, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        # parts of a large file are read as needed, at the cost of allocating whatever size a page claims
        buffer, filesystem = 0 if self.files.size(path) < SMALL else 1 << 20, self.files.filesystem
        try:
            with pq.ParquetFile(path, filesystem=filesystem, pre_buffer=False, buffer_size=buffer) as file:
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
                difference = ", ".join(sorted(set(schema.names) ^ set(schemas[0].names)))
                other = f"different columns from {Path(paths[0]).name}"
                raise DataError(f"{path} has {other}: {difference} are in only one of them.")
            schemas.append(schema)
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                self.groups.append((path, number, metadata))
                self.sizes.append(group.num_rows)
                chunks = [group.column(position) for position in range(group.num_columns)]
                with_holes |= {chunk.path_in_schema for chunk in chunks if _may_have_holes(chunk.statistics)}
                long |= {chunk.path_in_schema for chunk in chunks if _may_be_long(chunk)}
        try:
            return pa.unify_schemas(schemas, promote_options="permissive"), with_holes, long
        except pa.ArrowException as problem:
            message = f"The files of {self.files.label} differ in a column's type: {problem}"
            raise DataError(message) from problem


def _may_have_holes(cells: pq.Statistics | None) -> bool:
    return cells is None or not cells.has_null_count or bool(cells.null_count)


def _may_be_long(column: pq.ColumnChunkMetaData) -> bool:
    """Whether 64-bit integers may have numbers beyond 2^53, which their statistics can rule out."""
    numbers = column.statistics
    if column.physical_type != "INT64" or numbers is None:
        return column.physical_type == "INT64"
    if numbers.logical_type.type not in ("INT", "NONE") or not numbers.num_values:  # times, or no cells
        return False
    return not (numbers.has_min_max and -EXACT <= numbers.min <= numbers.max <= EXACT)


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast columns to the types they are read as; floats are rounded, and times lose their nanoseconds."""
    loss = {"allow_float_truncate": True, "allow_time_truncate": True}
    options = [pc.CastOptions(field.type, **loss) for field in schema]
    try:
        columns = [column.cast(options=option) for column, option in zip(table.columns, options, strict=True)]
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
    table = table.drop_columns([name for name in table.column_names if name.startswith(INDEX)])
    frame = table.to_pandas(types_mapper=_list_type, ignore_metadata=True)  # no column becomes an index
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
