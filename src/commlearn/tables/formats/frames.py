"""Tables in memory, of any library that supports Arrow (Polars, PyArrow, DuckDB, ...), or lists of dicts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from commlearn.errors import DataError
from commlearn.tables.formats.parquet_files import arrow_to_pandas


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
        if bad_rows := [row for row, record in enumerate(source) if not isinstance(record, Mapping)]:
            raise DataError(
                f"Row {bad_rows[0]} of the list is {source[bad_rows[0]]!r:.60}; give a dict for each row."
            )
        return pd.DataFrame.from_records(source)
    if hasattr(source, "collect") and not hasattr(source, "__arrow_c_stream__"):
        source = source.collect()  # a lazy frame
    try:
        if _is_hugging_face(source):
            table = _hugging_face_table(source)
        else:
            table = source.to_table() if isinstance(source, dataset.Dataset) else pa.table(source)
    except (TypeError, ValueError, AttributeError, pa.ArrowException) as problem:
        raise not_a_table_error(source, f" ({problem})") from problem
    return arrow_to_pandas(table)


def not_a_table_error(source: Any, why: str = "") -> DataError:
    """Return the error for an object that is not a table."""
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
