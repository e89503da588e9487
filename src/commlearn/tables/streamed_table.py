"""A table larger than memory as a data set: its training rows are read group by group during training.

Preprocessing is learned from a sample that fits in memory; diagnostics use the same sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from commlearn.errors import ConfigurationError, DataError, Problems
from commlearn.kinds.base import Problem, plain
from commlearn.kinds.rows import Unreadable, evenly_spaced, raise_errors
from commlearn.records import Dataset, Records
from commlearn.seeds import numpy_generator
from commlearn.storage.places import is_remote
from commlearn.tables.formats.parquet_files import ParquetTable
from commlearn.tables.formats.table_files import format_of
from commlearn.tables.formats.tar_files import TarTable
from commlearn.tables.leaks import answer_notes
from commlearn.tables.schema import Schema
from commlearn.tables.splits import PARTS, deciding_columns, parts_of_names, row_names
from commlearn.tables.streamed import Groups, StreamedColumn, StreamedRecords
from commlearn.tables.table import Table

LANES = 32  # groups that are open at a time, at most
SAMPLED = 64  # groups that a sample is drawn from, at most


GroupedTable: TypeAlias = ParquetTable | TarTable  # each group of rows can be read separately


def open_groups(source: str) -> GroupedTable:
    """Open Parquet or tar files, local or at a URL, whose rows can be read in groups."""
    path = Path(source)
    if not (path.exists() or is_remote(source)):
        raise DataError(f"There is no table {source}. Check the path.")
    ending = format_of(path)
    if not (is_remote(source) or ending in (".parquet", ".pq", ".tar")):
        raise ConfigurationError(
            f"{source} cannot be read in parts: its rows are not stored in groups. Write it as Parquet, or "
            "embed it to a single output file ending in .parquet, .csv or .npz."
        )
    table = TarTable(source) if ending == ".tar" else ParquetTable(source)
    if not sum(table.sizes):
        raise DataError(f"{source} has no rows. Give a table with at least one record.")
    return table


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
        raise DataError(
            f"{source} leaves no rows to train on; give more rows, or smaller shares for validation and test."
        )
    problems = Problems("The table does not fit the schema")
    for message in schema.misnamed_columns(samples["train"].frame).values():
        problems.add(message)
    problems.raise_if_any(DataError)
    state = plain(schema.learn(samples["train"]))
    unreadable = Unreadable(schema.unreadable_limit)
    read_samples = {
        name: replace(
            schema.read(sample, state, with_targets=True, unreadable=unreadable),
            keys=table.keys[positions],
            groups=None if table.groups is None else table.groups[positions],
        )
        for name, (sample, positions) in drawn.items()
    }
    unreadable.judge(at_end=False)
    largest = max(table.grouped.sizes)
    lanes = 2 ** int(np.log2(np.clip(rows // (2 * largest), 1, min(LANES, len(table.grouped.sizes)))))
    groups = Groups(lambda group: table.read(group, state), table.counts["train"].tolist(), lanes)
    columns = {name: StreamedColumn(groups, name, spec) for name, spec in read_samples["train"].specs.items()}
    keys, group_keys = table.names_of("train")
    return Dataset(
        train=StreamedRecords(
            dict(columns), keys=keys, groups=group_keys, row_groups=groups, sampled=read_samples["train"]
        ),
        test=read_samples.get("test") or read_samples["train"].choose(np.zeros(0, dtype=np.int64)),
        validation=read_samples.get("validation"),
        probe=read_samples["train"],
        schema=schema.to_mapping(),
        state=state,
        notes=(
            _note(table, read_samples, lanes, largest),
            *schema.notes(state),
            *_answers(samples["train"], schema, table),
        ),
        unreadable=table.unreadable.entries,
    )


class _Split:
    """A table in groups, with its rows assigned to parts."""

    def __init__(
        self, grouped: GroupedTable, schema: Schema, validation: float, test: float, seed: int
    ) -> None:
        self.grouped, self.schema, self.seed = grouped, schema, seed
        self.unreadable = Unreadable(schema.unreadable_limit)
        self.first = np.cumsum(grouped.sizes) - np.asarray(grouped.sizes)
        columns = deciding_columns(schema)
        keys, groups, parts = [], [], []
        for group in range(len(grouped.sizes)):
            table = Table(self._cells(group, columns), grouped.root, int(self.first[group]))
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
        self.keys = np.concatenate(keys)
        self.groups = None if schema.group is None else np.concatenate(groups)
        if schema.id is not None:
            self._refuse_repeated(schema.id)
        if schema.split is None:
            units = self.keys if self.groups is None else self.groups
            part = parts_of_names(units, validation, test, seed)
        else:
            part = np.concatenate(parts)
        self.part = np.split(part, self.first[1:])
        self.counts = {
            name: np.array([(codes == code).sum() for codes in self.part]) for code, name in enumerate(PARTS)
        }

    def _refuse_repeated(self, column: str) -> None:
        """Raise an error that names two rows with the same id, in any groups, if there are any."""
        by_key = np.argsort(self.keys, kind="stable")
        repeated = by_key[1:][np.diff(self.keys[by_key]) == 0]
        if len(repeated):
            row = int(repeated.min())
            first = int(np.flatnonzero(self.keys == self.keys[row])[0])
            group = int(np.searchsorted(self.first, row, side="right")) - 1
            value = self._cells(group, [column])[column].tolist()[row - int(self.first[group])]
            message = f"the id {value!r} is also that of row {first}; give each record its own"
            raise_errors(column, [Problem(message, column, row)])

    def count(self, name: str) -> int:
        return int(self.counts[name].sum())

    def names_of(self, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the keys and groups of all rows of one part."""
        mask = np.concatenate(self.part) == PARTS.index(name)
        return self.keys[mask], None if self.groups is None else self.groups[mask]

    def read(self, group: int, state: Mapping[str, dict[str, Any]]) -> Records:
        """Return the training records of a group; unreadable cells in any of its rows are reported."""
        table = self._table(group, with_targets=False)
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
            frames.append(self._table(group, with_targets=True).frame.iloc[rows[drawn]])
            positions.append(self.first[group] + rows[drawn])
        return Table(pd.concat(frames, ignore_index=True), self.grouped.root), np.concatenate(positions)

    def _table(self, group: int, with_targets: bool) -> Table:
        names = self.schema.training_columns() if with_targets else self.schema.columns(with_targets=False)
        columns = dict.fromkeys([*names, *deciding_columns(self.schema)])
        return Table(self._cells(group, [*columns]), self.grouped.root, int(self.first[group]))

    def _cells(self, group: int, columns: Sequence[str]) -> pd.DataFrame:
        return self.schema.reading().emptied(self.grouped.read(group, columns))

    def _rows(self, group: int, name: str) -> np.ndarray:
        return np.flatnonzero(self.part[group] == PARTS.index(name))


def _answers(sample: Table, schema: Schema, table: _Split) -> tuple[str, ...]:
    """Return notes on likely answers among the inputs, and on how many training rows were examined."""
    coverage = f"in {len(sample)} of {table.count('train')} training rows"
    notes = answer_notes(sample.frame, schema) or ("no input looks like an answer",)
    return tuple(f"{note} ({coverage})" for note in notes)


def _note(table: _Split, samples: Mapping[str, Records], lanes: int, largest: int) -> str:
    """Describe in one line what is streamed, and which samples are used in its place."""
    parts = ", ".join(f"{len(part)} of {table.count(name)} {name} rows" for name, part in samples.items())
    return (
        f"streamed: {len(table.grouped.sizes)} groups of at most {largest} rows, {lanes} open at a time and "
        f"as many read ahead; samples for preprocessing, probes and checks: {parts}"
    )
