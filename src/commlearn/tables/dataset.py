"""A table as a data set: read, split, and prepared with what was learned from its training rows.

The training rows of a table larger than memory are read group by group during training. Preprocessing is then
learned from a sample that fits in memory; diagnostics use the same sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from commlearn.errors import ConfigurationError, DataError, Problems
from commlearn.kinds.base import Problem, plain
from commlearn.kinds.rows import WAY_OUT, Unreadable, collect_errors, evenly_spaced, first_ten, raise_errors
from commlearn.records import Dataset, Records
from commlearn.seeds import numpy_generator
from commlearn.storage.fingerprint import fingerprint
from commlearn.tables.formats.table_files import GroupedTable, open_groups
from commlearn.tables.leaks import answer_notes
from commlearn.tables.roles import encode_target, read_target, repeated_id, with_ids
from commlearn.tables.schema import Schema, refuse_columns
from commlearn.tables.splits import (
    PARTS,
    RowNames,
    check_shares,
    deciding_columns,
    name_keys,
    no_training_rows,
    parts_of_names,
    row_names,
    split_rows,
)
from commlearn.tables.streamed import Groups, StreamedColumn, StreamedRecords
from commlearn.tables.table import Table, read_table

NO_PLACE = (
    "It is not known where the training table is: the table was in memory, or the model is an export, which "
    "does not name its data. Pass a table: it is an argument of every command and function that reads rows."
)
COPIES = 0.01  # share of rows that copy other rows, above which a note says so
LANES = 32  # groups that are open at a time, at most
SAMPLED = 64  # groups that a sample is drawn from, at most


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
            message = f"stream is {self.stream}; give the number of rows to hold in memory, or 0 for all."
            raise ConfigurationError(message)
        if self.stream and self.root:
            way_out = "Leave root out, and move the table to that folder."
            raise ConfigurationError(f"root cannot be combined with stream. {way_out}")
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
    refuse_columns("The table does not fit the schema", schema.misnamed_columns(table.frame))
    problems = Problems("The table cannot be trained on")
    rows: dict[str, np.ndarray] = {}
    names: RowNames | None = None
    with collect_errors(problems, "split"):
        names = row_names(table, schema)
        rows = split_rows(table, schema, validation, test, seed, names)
    try:
        state = plain(schema.learn(table, rows.get("train")))
    except DataError as problem:
        errors = with_ids(_cell_errors(table, schema), table, schema.id)
        problems.messages += [str(error) for error in errors] or [f"learning: {problem}"]
        if schema.unreadable == "error":
            problems.add(WAY_OUT)
    if problems.messages:  # also report what reading would have found
        with collect_errors(problems, "id"):
            schema.ids(table)
        for name, sort in schema.targets.items():
            with collect_errors(problems, f"target '{name}'"):
                encode_target(table, name, sort)
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
            *divided(parts.values(), schema),
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
    if schema.id is not None or records.keys is None:
        return ()
    distinct = len(np.unique(records.keys))
    if len(records) - distinct <= COPIES * len(records):
        return ()
    return (
        f"only {distinct} of {len(records)} rows are distinct; copies count as one record and stay in one "
        "part. If they are different records, set id to the column that tells them apart",
    )


def divided(named: Iterable[Records | RowNames], schema: Schema) -> tuple[str, ...]:
    """Return a note if the split column puts rows of one group, or copies of one row, in several parts."""
    units = [part.keys if part.groups is None else part.groups for part in named]
    each_once = [np.unique(part) for part in units if part is not None]
    if schema.split is None or not each_once:
        return ()
    distinct, parts = np.unique(np.concatenate(each_once), return_counts=True)
    if not (count := int((parts > 1).sum())):
        return ()
    things = "distinct rows" if schema.group is None else f"groups of column '{schema.group}'"
    return (
        f"column '{schema.split}' puts {count} of {len(distinct)} {things} in more than one part, so "
        "scores on the other parts may reflect what was memorised in training; `commlearn check` names rows",
    )


def _cell_errors(table: Table, schema: Schema) -> list[Problem]:
    """Return the errors in the cells of every modality, including those that could be learned from."""
    problems = [problem for kind in schema.modalities.values() for problem in kind.check(table)]
    return [problem for problem in problems if problem.level == "error"]


def streamed_dataset(
    source: str, schema: Schema, rows: int, validation: float = 0.0, test: float = 0.2, seed: int = 0
) -> Dataset:
    """Return a data set that streams the table's training rows and holds samples of all parts in memory.

    Args:
        source: a file or folder of Parquet or tar files, or its URL.
        schema: what the columns are.
        rows: training rows in memory at a time, and most rows of each sample.
        validation: share of the rows, if there is no split column.
        test: share of the rows, if there is no split column.
        seed: seed of the split and of the samples.
    """
    table = _Split(open_groups(source), schema, validation, test, seed)
    drawn = {name: table.sample(name, rows) for name in PARTS if table.count(name)}
    samples = {name: sample for name, (sample, _) in drawn.items()}
    if "train" not in samples:
        raise no_training_rows(source)
    refuse_columns("The table does not fit the schema", schema.misnamed_columns(samples["train"].frame))
    unreadable = Unreadable(schema.unreadable_limit)
    parts: dict[str, Records] = {}
    try:
        state = plain(schema.learn(samples["train"]))
        for name, (sample, positions) in drawn.items():
            records = schema.read(sample, state, with_targets=True, unreadable=unreadable)
            parts[name] = named_records(records, table.names.take(positions))
    except DataError:
        if schema.unreadable == "error":
            _raise_errors_of_samples(drawn.values(), schema)
        raise
    unreadable.judge(at_end=False)
    count, largest = len(table.grouped.sizes), max(table.grouped.sizes)
    lanes = 2 ** int(np.log2(np.clip(rows // (2 * largest), 1, min(LANES, count))))
    groups = Groups(lambda group: table.read(group, state), table.counts["train"].tolist(), lanes)
    columns = {name: StreamedColumn(groups, name, spec) for name, spec in parts["train"].specs.items()}
    keys, group_keys = table.names.take(np.concatenate(table.part) == PARTS.index("train"))
    shown = ", ".join(f"{len(part)} of {table.count(name)} {name} rows" for name, part in parts.items())
    coverage = f"in {len(samples['train'])} of {table.count('train')} training rows"
    answers = answer_notes(samples["train"].frame, schema) or ("no input looks like an answer",)
    return Dataset(
        train=StreamedRecords(
            dict(columns), keys=keys, groups=group_keys, row_groups=groups, sampled=parts["train"]
        ),
        test=parts.get("test") or parts["train"].choose(np.zeros(0, dtype=np.int64)),
        validation=parts.get("validation"),
        probe=parts["train"],
        schema=schema.to_mapping(),
        state=state,
        notes=(
            f"streamed: {count} groups of at most {largest} rows, {lanes} open at a time and as many read "
            f"ahead; samples for preprocessing, probes and checks: {shown}",
            *divided(map(table.names.take, table.positions().values()), schema),
            *schema.notes(state),
            *(f"{note} ({coverage})" for note in answers),
        ),
        unreadable=table.unreadable.entries,
    )


def _raise_errors_of_samples(samples: Iterable[tuple[Table, np.ndarray]], schema: Schema) -> None:
    """Raise an error for all wrong cells of samples, if there are any, with their rows in the whole table."""
    problems = Problems("The table cannot be trained on")
    for sample, positions in samples:
        errors = _cell_errors(sample, schema)
        for name, sort in schema.targets.items():
            errors += first_ten(read_target(sample, name, sort)[1])
        for problem in with_ids(errors, sample, schema.id):
            row = int(positions[problem.row]) if isinstance(problem.row, int) else problem.row
            problems.add(str(replace(problem, row=row)))
    if problems.messages:
        problems.add(WAY_OUT)
    problems.raise_if_any(DataError)


class _Split:
    """A table in groups, with its rows assigned to parts."""

    def __init__(
        self, grouped: GroupedTable, schema: Schema, validation: float, test: float, seed: int
    ) -> None:
        self.grouped, self.schema, self.seed = grouped, schema, seed
        self.unreadable = Unreadable(schema.unreadable_limit)
        self.first = np.cumsum(grouped.sizes) - np.asarray(grouped.sizes)
        keys, groups, parts = [], [], []
        for group in range(len(grouped.sizes)):
            table = self._table(group, ())
            names = row_names(table, schema)
            if names is None:
                raise DataError(" ".join(schema.missing_columns(table.frame).values()))
            keys.append(names.keys)
            groups.append(names.units)
            if schema.split is not None:
                codes = np.zeros(len(table), dtype=np.int8)
                for name, rows in schema.splits(table).items():
                    codes[rows] = PARTS.index(name)
                parts.append(codes)
        self.names = RowNames(np.concatenate(keys), None if schema.group is None else np.concatenate(groups))
        if schema.id is not None:
            self._refuse_repeated(schema.id)
        if schema.split is None:
            part = parts_of_names(self.names.units, validation, test, seed)
        else:
            part = np.concatenate(parts)
        self.part = np.split(part, self.first[1:])
        self.counts = {
            name: np.array([(codes == code).sum() for codes in self.part]) for code, name in enumerate(PARTS)
        }

    def _refuse_repeated(self, column: str) -> None:
        """Raise an error that names two rows with the same id, in any groups, if there are any."""
        keys = self.names.keys
        repeated = pd.Series(keys).duplicated()
        if repeated.any():
            row = int(repeated.argmax())
            first = int(np.argmax(keys == keys[row]))
            group = int(np.searchsorted(self.first, row, side="right")) - 1
            value = self._table(group, ()).frame[column].tolist()[row - int(self.first[group])]
            raise_errors(column, [repeated_id(value, first, column, row)])

    def count(self, name: str) -> int:
        return int(self.counts[name].sum())

    def positions(self) -> dict[str, np.ndarray]:
        """Return the positions of each part's rows in the whole table."""
        codes = np.concatenate(self.part)
        return {name: np.flatnonzero(codes == code) for code, name in enumerate(PARTS)}

    def read(self, group: int, state: Mapping[str, dict[str, Any]]) -> Records:
        """Return the training records of a group; unreadable cells in any of its rows are reported."""
        table = self._table(group, self.schema.columns(with_targets=False))
        records = self.schema.read(table, state, unreadable=self.unreadable)
        self.unreadable.judge(at_end=False)
        return records.choose(self._rows(group, "train"))

    def sample(self, name: str, limit: int) -> tuple[Table, np.ndarray]:
        """Draw an equal share of a part's rows in groups all over the table; also return their positions."""
        filled = np.flatnonzero(self.counts[name])
        groups = filled[list(evenly_spaced(len(filled), SAMPLED))]
        share = min(1.0, limit / int(self.counts[name][groups].sum()))
        frames, positions = [], []
        for group in groups.tolist():
            rows = self._rows(group, name)
            generator = numpy_generator(self.seed, f"sample {name}", group)
            drawn = np.sort(generator.choice(len(rows), max(1, int(share * len(rows))), replace=False))
            frames.append(self._table(group, self.schema.training_columns()).frame.iloc[rows[drawn]])
            positions.append(self.first[group] + rows[drawn])
        return Table(pd.concat(frames, ignore_index=True), self.grouped.root), np.concatenate(positions)

    def _table(self, group: int, columns: Sequence[str]) -> Table:
        """Return columns of a group, and those that decide which part a row belongs to."""
        columns = list(dict.fromkeys([*columns, *deciding_columns(self.schema)]))
        frame = self.schema.reading().emptied(self.grouped.read(group, columns))
        return Table(frame, self.grouped.root, int(self.first[group]))

    def _rows(self, group: int, name: str) -> np.ndarray:
        return np.flatnonzero(self.part[group] == PARTS.index(name))
