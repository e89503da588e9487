"""Search queries: a row of the table, or the cells of a record that need not be in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from commlearn.errors import ConfigurationError, DataError, nearest, unknown
from commlearn.kinds.base import Cells
from commlearn.kinds.rows import is_empty
from commlearn.records import Records
from commlearn.tables.schema import Schema
from commlearn.tables.splits import name_keys
from commlearn.tables.table import Table
from commlearn.trained.model import Trained

Query = int | str | Mapping[str, Any]
"""A row's number (from 0), a row's id, or cells by column, modality or kind."""


def row_of(query: int | str, table: Table, schema: Schema) -> int:
    """Return the number of the row that a query names."""
    if not isinstance(query, str):
        row = int(query)
        if not 0 <= row < len(table):
            raise DataError(
                f"There is no row {row}: the table has {len(table)} rows, from 0 to {len(table) - 1}."
            )
        return row
    if schema.id is None or schema.id not in table.frame:
        reason = (
            "the schema names no id column" if schema.id is None else f"the table has no column '{schema.id}'"
        )
        raise DataError(
            f"'{query:.40}' looks like an id, but {reason}. Give the number of a row, or cells such "
            f"as {_example(schema)}."
        )
    ids, present = name_keys(table.frame[schema.id])
    rows = np.flatnonzero(present & (ids == name_keys(pd.Series([query]))[0]))
    if not len(rows):
        guess = nearest(query, table.frame[schema.id][present][:10_000].astype(str))
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise DataError(
            f"No row has the {schema.id} '{query:.40}'.{hint} To search by content, give the record's "
            f"cells, such as {_example(schema)}."
        )
    return int(rows[0])


def cells_of(query: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return a query's cells by column; keys may also name a one-column modality, or a kind that is unique.

    Example:
        >>> from commlearn.kinds.text import Text
        >>> schema = Schema({"plot": Text("summary")})
        >>> cells_of({"plot": "a boat"}, schema), cells_of({"text": "a boat"}, schema)
        ({'summary': 'a boat'}, {'summary': 'a boat'})
    """
    columns = {column: column for kind in schema.modalities.values() for column in kind.columns()}
    single = {name: kind for name, kind in schema.modalities.items() if len(kind.columns()) == 1}
    kinds = [kind.name for kind in single.values()]
    columns = {
        **{kind.name: kind.columns()[0] for kind in single.values() if kinds.count(kind.name) == 1},
        **{name: kind.columns()[0] for name, kind in single.items()},
        **columns,
    }
    for key in query:
        if key not in columns:
            ambiguous = [name for name, kind in single.items() if kind.name == key]
            if ambiguous:
                raise ConfigurationError(
                    f"Several modalities are of kind {key}. Use the name of one: {', '.join(ambiguous)}."
                )
            raise ConfigurationError(unknown("column of the query", key, columns))
    return {columns[key]: str(cell) if isinstance(cell, Path) else cell for key, cell in query.items()}


def modalities_of(cells: Mapping[str, Any], schema: Schema) -> list[str]:
    """Return the modalities for which a query has a cell that is not empty."""
    return [
        name
        for name, kind in schema.modalities.items()
        if any(column in cells and not is_empty(cells[column]) for column in kind.columns())
    ]


def records_of_cells(model: Trained, cells: Mapping[str, Any], names: Sequence[str]) -> Records:
    """Return a query's cells as one record; paths are relative to the working directory and may leave it."""
    schema = model.reader()[0].only(names)
    kinds: dict[str, Any] = dict(schema.modalities)
    kinds = {
        name: replace(kind, outside=True) if hasattr(kind, "outside") else kind
        for name, kind in kinds.items()
    }
    row = {column: np.empty(1, dtype=object) for column in schema.columns(with_targets=False)}
    for column in row.keys() & cells.keys():
        row[column][0] = cells[column]
    reader = replace(model, schema=replace(schema, modalities=kinds))
    return reader.records(Cells(pd.DataFrame(row), Path.cwd()), modalities=names)


def _example(schema: Schema) -> str:
    name, kind = next(iter(schema.modalities.items()))
    return f'{{"{name if len(kind.columns()) == 1 else kind.columns()[0]}": ...}}'
