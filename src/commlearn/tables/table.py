"""Reading of tables, whole or in chunks: files, arrays, lists of dicts, or frames of any library with Arrow.

Reading in chunks yields the same rows and types as reading whole: the type of a column in a text
file is decided from the whole file, so that a chunk of whole numbers does not turn a code `01` into 1.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from commlearn.errors import DataError, nearest
from commlearn.kinds.base import Cells
from commlearn.storage.places import is_remote
from commlearn.storage.plain_files import path_hint, plain_file
from commlearn.tables.formats.parquet_files import CHUNK, ParquetTable, arrow_to_pandas
from commlearn.tables.formats.reading import PLAIN, Reading, chosen_columns, one_name_each
from commlearn.tables.formats.table_files import FORMATS, format_of, slices, table_in_zip

Source: TypeAlias = Any  # a frame, records in a list, a dict of arrays, or a path or URL
Table: TypeAlias = Cells  # rows and their root folder; kinds call them cells


def read_table(source: Source, columns: Sequence[str] | None = None, reading: Reading = PLAIN) -> Table:
    """Read a whole table.

    Args:
        source: a DataFrame of pandas or Polars, a PyArrow table, a DuckDB relation, a Hugging Face Dataset, a
            list of dicts, a dict of arrays, or the path of a Parquet file (or of a folder of them), of
            WebDataset tar files, of a Feather or .xlsx file, of CSV, TSV or JSON lines (these also as
            `.gz`), or of a .zip of one of these; or the URL of Parquet files, such as s3://bucket/table.
        columns: columns to read, all if not given; the schema reports missing ones later.
        reading: a schema's settings for cells, from `schema.reading()`.

    Example:
        >>> read_table({"a": [1, 2], "v": np.zeros((2, 3))}).frame.columns.tolist()
        ['a', 'v']
    """
    [table] = iterate_table(source, 0, columns, reading)
    return table


def iterate_table(
    source: Source, rows: int = CHUNK, columns: Sequence[str] | None = None, reading: Reading = PLAIN
) -> Iterator[Table]:
    """Yield the table in chunks of at most `rows` rows.

    Parquet, CSV and JSON lines take the memory of one chunk. Tar files are read one by one, others whole.

    Args:
        source: what `read_table` takes.
        rows: most rows of a chunk; 0 yields the whole table as one chunk.
        columns: columns to read, all if not given; the schema reports missing ones later.
        reading: a schema's settings for cells, from `schema.reading()`.
    """
    if isinstance(source, Mapping) or is_frame(source):
        frame = _in_memory(source)
        chosen = frame if columns is None else frame[chosen_columns(list(frame), columns, "The table")]
        root, chunks = Path(), slices(chosen, rows)
    elif is_remote(source):
        root, chunks = Path(), ParquetTable(str(source)).chunks(rows, columns)
    elif isinstance(source, str | os.PathLike):
        path = _existing_path(Path(source))
        path = table_in_zip(path) if path.suffix.lower() == ".zip" and path.is_file() else path
        root = path if path.is_dir() else path.parent
        ending = format_of(path)
        if ending not in FORMATS:
            raise DataError(
                f"{path}: files ending in '{ending}' are not supported. Give a file that ends in "
                f"{', '.join(FORMATS)} or .zip, or a folder of Parquet files." + path_hint(path, "table")
            )
        chunks = FORMATS[ending](path, rows, columns, reading)
    else:
        raise _not_a_table_error(source)
    first_row = 0
    try:
        for frame in chunks:
            if len(frame):
                yield Table(reading.emptied(frame.reset_index(drop=True)), root, first_row)
                first_row += len(frame)
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{source} cannot be read: {problem}. Is it cut off?") from problem
    if first_row == 0:
        name = str(source) if isinstance(source, str | Path) else "The table"
        raise DataError(f"{name} has no rows. Give a table with at least one record.")


def _in_memory(source: Any) -> pd.DataFrame:
    if is_frame(source):
        source = as_pandas(source)
        if source.columns.nlevels > 1:
            levels = f"{source.columns.nlevels} levels, such as {source.columns[0]!r}"
            raise DataError(
                f"The table's columns have {levels}. Give each a single name: "
                "frame.columns = ['_'.join(map(str, name)) for name in frame.columns]"
            )
        frame = source.rename(columns=str)
        one_name_each(list(frame.columns), "The table")
        objects = {name: frame[name] for name in frame if frame[name].dtype == object}
        masked = {name: cells for name, cells in objects.items() if any(map(np.ma.isMaskedArray, cells))}
        return frame.assign(**{name: cells.map(_unmasked_cell) for name, cells in masked.items()})
    tables = [
        name
        for name, part in source.items()
        if not isinstance(part, list) and (hasattr(part, "columns") or hasattr(part, "column_names"))
    ]
    if tables:
        raise DataError(
            f"This is a dict of tables ({', '.join(map(str, tables))}). Give one of them, such as "
            f"tables[{tables[0]!r}], or one table of all, with a column `split` that names each row's part."
        )
    one_name_each(list(map(str, source)), "The table")
    arrays = {str(name): _series(str(name), values) for name, values in source.items()}
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"The arrays of a table must have the same length; got {sizes}.")
    check_order(list(source.items()))
    return pd.DataFrame(arrays)


def check_order(inputs: Sequence[tuple[str, Any]]) -> None:
    """Refuse frames and series with the same rows in different orders, as they are joined by position."""
    frames = [(name, value.index) for name, value in inputs if isinstance(value, pd.DataFrame | pd.Series)]
    for name, index in frames[1:]:
        first, order = frames[0]
        if not index.equals(order) and index.symmetric_difference(order, sort=False).empty:
            raise DataError(
                f"'{first}' and '{name}' have the same rows in different orders. Sort them the same "
                "way, for example with .loc[index], or pass arrays, which are joined by position."
            )


def _series(name: str, values: Any) -> pd.Series:
    """Return one column; a 2-D array becomes vectors that share its memory, one with more axes cells.

    What a mask hides is empty, as it is in a frame.
    """
    if isinstance(values, pd.Series | pd.api.extensions.ExtensionArray):
        return pd.Series(values).reset_index(drop=True)
    if hasattr(values, "shape"):
        values = _channels_last(_array(name, values))
    is_masked = isinstance(values, np.ma.MaskedArray)
    if is_masked and values.ndim == 1 and values.dtype.kind in "iu":  # floats may not hold them exactly
        numbers = pa.array(values.data, mask=np.ma.getmaskarray(values))
        return arrow_to_pandas(pa.table({"": numbers}))[""]
    is_matrix = getattr(values, "ndim", 1) == 2 and not is_masked
    if is_matrix and values.dtype.kind in "iuf" and values.dtype.itemsize > 1:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([vectors])))
    is_list = isinstance(values, list | tuple)
    holds_arrays = is_list and any(isinstance(value, np.ndarray | list) for value in values)
    if getattr(values, "ndim", 1) > 1 or holds_arrays:
        cells = map(_unmasked_cell, values)
        return pd.Series(np.fromiter(cells, dtype=object, count=len(values)))
    return pd.Series(values)


def _unmasked_cell(cell: Any) -> Any:
    """Return a cell without a mask: None if all of it is masked, NaN for single numbers that are."""
    if not isinstance(cell, np.ma.MaskedArray):
        return cell
    mask = np.ma.getmaskarray(cell)
    if mask.size and mask.all():
        return None
    if not mask.any():
        return cell.data
    return np.where(mask, np.nan if cell.dtype.kind in "biuf" else np.array(None, dtype=object), cell.data)


def _array(name: str, values: Any) -> np.ndarray:
    """Convert values to a numpy array in this machine's byte order; a mask stays if it masks anything."""
    try:
        array = np.asanyarray(values) if np.ma.is_masked(values) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise DataError(
            f"Column '{name}' is a {type(values).__name__} that cannot be read as an array ({problem}). Give "
            "a numpy array, such as tensor.detach().float().cpu().numpy()."
        ) from problem
    if 0 in array.shape[1:]:
        raise DataError(f"Column '{name}' has the shape {array.shape}: its rows are empty. Leave it out.")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _channels_last(values: np.ndarray) -> np.ndarray:
    """Transpose what looks like torch images: bytes or fractions, channels first."""
    if values.ndim != 4 or values.shape[1] not in (1, 3) or values.shape[3] in (1, 3, 4) or not values.size:
        return values
    fractions = values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1
    return values.transpose(0, 2, 3, 1) if fractions or values.dtype == np.uint8 else values


def _existing_path(path: Path) -> Path:
    if os.path.isdir(path):  # False for invalid file names, for which Path.exists raises
        return path
    if os.path.exists(path):
        try:
            return plain_file(path)
        except OSError as problem:
            message = f"{path} is not a table: {problem.strerror}. Give a file or a folder."
            raise DataError(message) from problem
    siblings = os.listdir(path.parent) if os.path.isdir(path.parent) else []
    guess = nearest(path.name, siblings)
    hint = f" Did you mean {path.with_name(guess)}?" if guess else " Check the path."
    raise DataError(f"There is no table {path}.{hint}")


def is_frame(source: Any) -> bool:
    """Whether an object is a table with named columns, as opposed to a dict of arrays or a single array.

    Example:
        >>> is_frame(pa.table({"a": [1]})), is_frame([{"a": 1}]), is_frame({"a": [1]}), is_frame([[1.0]])
        (True, True, False, False)
    """
    arrow = hasattr(source, "__arrow_c_stream__") or isinstance(source, dataset.Dataset)
    named = hasattr(type(source), "columns") or hasattr(source, "__dataframe__")
    records = isinstance(source, list) and bool(source) and isinstance(source[0], Mapping)
    return arrow or named or records or _is_hugging_face(source)


def as_pandas(source: Any) -> pd.DataFrame:
    """Convert a table to pandas; lists of numbers stay in Arrow's types.

    Raises:
        DataError: its library does not support Arrow, it is one column, or a row of a list is not a dict.

    Example:
        >>> as_pandas([{"a": 1, "b": "x"}, {"a": 2}])["b"].tolist()
        ['x', nan]
    """
    if isinstance(source, pd.DataFrame):
        texts = [name for name, dtype in source.dtypes.items() if _is_arrow_text(dtype)]
        return source.astype(dict.fromkeys(texts, "str")) if texts and source.columns.is_unique else source
    if isinstance(source, list):
        for row, record in enumerate(source):
            if not isinstance(record, Mapping):
                raise DataError(f"Row {row} of the list is {record!r:.60}; give a dict for each row.")
        return pd.DataFrame.from_records(source)
    if hasattr(source, "collect") and not hasattr(source, "__arrow_c_stream__"):
        source = source.collect()  # a lazy frame
    try:
        if _is_hugging_face(source):
            table = _hugging_face_table(source)
        else:
            table = source.to_table() if isinstance(source, dataset.Dataset) else pa.table(source)
    except (TypeError, ValueError, AttributeError, pa.ArrowException) as problem:
        raise _not_a_table_error(source, f" ({problem})") from problem
    return arrow_to_pandas(table)


def _not_a_table_error(source: Any, why: str = "") -> DataError:
    description = "An empty list" if isinstance(source, list) and not source else f"A {type(source).__name__}"
    return DataError(
        f"{description} cannot be read as a table{why}. Give a pandas or Polars DataFrame, a PyArrow table, "
        "a list of dicts, a dict of arrays, or the path of a file."
    )


def _is_arrow_text(dtype: Any) -> bool:
    kind = dtype.pyarrow_dtype if isinstance(dtype, pd.ArrowDtype) else None
    return kind is not None and (pa.types.is_string(kind) or pa.types.is_large_string(kind))


def convert_like(source: Any, frame: pd.DataFrame) -> Any:
    """Convert a frame to the source's library (PyArrow, Polars or datasets); for others, leave it in pandas.

    Example:
        >>> type(convert_like(pa.table({"a": [1]}), pd.DataFrame({"b": [2]}))).__name__
        'Table'
    """
    library = type(source).__module__.partition(".")[0]
    if library not in ("pyarrow", "polars", "datasets"):
        return frame
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if library == "polars":
        return sys.modules["polars"].from_arrow(table)
    return sys.modules["datasets"].Dataset(table) if library == "datasets" else table


def _is_hugging_face(source: Any) -> bool:
    """Whether an object is a `Dataset` of the `datasets` library, or its streaming variant."""
    return hasattr(source, "with_format") and hasattr(source, "features")


def _hugging_face_table(source: Any) -> pa.Table:
    """Return the selected rows in their order, with images and audio as the bytes of their files."""
    table = source.with_format("arrow")[:]
    for index, (name, feature) in enumerate((source.features or {}).items()):
        if hasattr(feature, "embed_storage"):  # a struct of bytes and path, either of which may be empty
            files = feature.embed_storage(table[name].combine_chunks())
            table = table.set_column(index, name, pc.struct_field(files, "bytes"))
    return table
