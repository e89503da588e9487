"""A table as a data set: read, split, and prepared with what was learned from its training rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from commlearn.errors import ConfigurationError, DataError, Problems
from commlearn.kinds.base import plain
from commlearn.kinds.rows import WAY_OUT, Unreadable, collect_errors
from commlearn.records import Dataset, Records
from commlearn.storage.fingerprint import fingerprint
from commlearn.tables.leaks import answer_notes
from commlearn.tables.names import with_ids
from commlearn.tables.schema import Schema
from commlearn.tables.splits import RowNames, check_shares, name_keys, row_names, split_rows
from commlearn.tables.streamed_table import streamed_dataset
from commlearn.tables.table import Table, read_table
from commlearn.tables.targets import encode_target

NO_PLACE = (
    "It is not known where the training table is: the table was in memory, or the model is an export, which "
    "does not name its data. Pass a table: it is an argument of every command and function that reads rows."
)
COPIES = 0.01  # share of rows that copy other rows, above which a note says so


@dataclass(frozen=True)
class TableData:
    """A table that a schema describes.

    Rows are split by the split column if the schema names one; otherwise by the hash of their group, if it
    names a group column; otherwise by the hash of their id, or of their cells if there is no id.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.csv"
        >>> written = path.write_text("a,b\\n" + "".join(f"{row},{row % 3}\\n" for row in range(10)))
        >>> data = TableData(str(path), {"modalities": {"t": {"kind": "tabular", "columns": ["a", "b"]}}})
        >>> len(data.read().train), len(data.read().test)
        (7, 3)
    """

    table: str  # path or URL, as `read_table` takes it: Parquet (file or folder), WebDataset tar, CSV, ...
    schema: dict[str, Any]  # schema as plain values: modalities, targets, id, group and split
    validation: float = 0.0  # share of the rows, if there is no split column
    test: float = 0.2  # share of the rows, if there is no split column
    seed: int = 0  # seed of the split
    stream: int = 0  # rows in memory at a time, for Parquet or tar files; 0 = the whole table
    root: str = ""  # folder to which paths in cells are relative; the table's folder if not given

    def read(self) -> Dataset:
        """Read the table, and learn from its training rows only."""
        if not self.table:
            raise DataError(NO_PLACE)
        schema = Schema.from_mapping(self.schema)
        check_shares(self.validation, self.test)
        if self.stream < 0:
            raise ConfigurationError(
                f"stream is {self.stream}; give the number of rows to hold in memory, or 0 for all."
            )
        if self.stream and self.root:
            raise ConfigurationError(
                "root cannot be combined with stream. Leave root out, and move the table to that folder."
            )
        if self.stream:
            data = streamed_dataset(self.table, schema, self.stream, self.validation, self.test, self.seed)
        else:
            table = read_table(self.table, schema.training_columns(), schema.reading())
            table = replace(table, root=Path(self.root)) if self.root else table
            data = dataset_of(table, schema, self.validation, self.test, self.seed)
        return replace(data, files=fingerprint(self.table))

    def ids(self, records: Records) -> dict[str, np.ndarray]:
        """Return the id column for records read from this table; empty if the schema names no id."""
        schema = Schema.from_mapping(self.schema)
        if schema.id is None or records.keys is None:
            return {}
        ids = read_table(self.table, [schema.id], schema.reading()).frame[schema.id]
        keys, _ = name_keys(ids)
        order = np.argsort(keys)
        return {schema.id: ids.to_numpy()[order[np.searchsorted(keys, records.keys, sorter=order)]]}


def dataset_of(
    table: Table, schema: Schema, validation: float = 0.0, test: float = 0.2, seed: int = 0
) -> Dataset:
    """Read and split the table's records; all problems are reported at once.

    Args:
        table: the rows and their root folder.
        schema: what the columns are.
        validation: share of the rows, if there is no split column.
        test: share of the rows, if there is no split column.
        seed: seed of the split.
    """
    problems = Problems("The table does not fit the schema")
    for message in schema.misnamed_columns(table.frame).values():
        problems.add(message)
    problems.raise_if_any(DataError)
    problems = Problems("The table cannot be trained on")
    rows: dict[str, np.ndarray] = {}
    names: RowNames | None = None
    with collect_errors(problems, "split"):
        names = row_names(table, schema)
        rows = split_rows(table, schema, validation, test, seed, names)
    learn_problems = Problems("learning")
    with collect_errors(learn_problems, "learning"):
        state = plain(schema.learn(table, rows.get("train")))
    for message in learn_problems.messages and (_cell_errors(table, schema) or learn_problems.messages):
        problems.add(message)
    if learn_problems.messages and schema.unreadable == "error":
        problems.add(WAY_OUT)
    if problems.messages:  # also report what reading would have found
        _collect_the_rest(problems, table, schema)
    problems.raise_if_any(DataError)
    unreadable = Unreadable(schema.unreadable_limit)
    records = named_records(schema.read(table, state, with_targets=True, unreadable=unreadable), names)
    unreadable.judge()
    parts = {name: records.choose(positions) for name, positions in rows.items()}
    no_records = records.choose(np.zeros(0, dtype=np.int64))
    return Dataset(
        train=parts["train"],
        test=parts.get("test", no_records),
        validation=parts.get("validation"),
        schema=schema.to_mapping(),
        state=state,
        notes=(
            *_copies(records, schema),
            *unreadable.lines(),
            *schema.notes(state),
            *answer_notes(table.frame, schema),
        ),
        unreadable=unreadable.entries,
    )


def named_records(records: Records, names: RowNames | None) -> Records:
    """Return the records with the keys and groups of the rows that they were read from."""
    return records if names is None else replace(records, keys=names.keys, groups=names.groups)


def _copies(records: Records, schema: Schema) -> tuple[str, ...]:
    """Return a note if many rows have the same cells and no id distinguishes them."""
    if schema.id is not None or records.keys is None:
        return ()
    distinct = len(np.unique(records.keys))
    if len(records) - distinct <= COPIES * len(records):
        return ()
    return (
        f"only {distinct} of {len(records)} rows are distinct; copies count as one record and stay in one "
        "part. If they are different records, set id to the column that tells them apart",
    )


def _cell_errors(table: Table, schema: Schema) -> list[str]:
    """Return the errors in the cells of every modality, including those that could be learned from."""
    problems = [problem for kind in schema.modalities.values() for problem in kind.check(table)]
    errors = [problem for problem in problems if problem.level == "error"]
    return [str(problem) for problem in with_ids(errors, table, schema.id)]


def _collect_the_rest(problems: Problems, table: Table, schema: Schema) -> None:
    with collect_errors(problems, "id"):
        schema.ids(table)
    for name, sort in schema.targets.items():
        with collect_errors(problems, f"target '{name}'"):
            encode_target(table, name, sort)
