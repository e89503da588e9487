"""A table larger than memory as a data set: its training rows are read group by group while they are used.

What the modalities learn, and whoever looks at a few records, gets a sample that fits in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from commlearn.data.parquet_files import ParquetTable
from commlearn.data.places import is_remote
from commlearn.data.records import Dataset, Records
from commlearn.data.streamed import Groups, StreamedColumn, StreamedRecords
from commlearn.data.tables import Table
from commlearn.data.tar_files import TarTable
from commlearn.errors import ConfigurationError, DataError, Problems
from commlearn.kinds.base import Cells, plain
from commlearn.kinds.names import odd_names
from commlearn.kinds.rows import raise_errors, spread
from commlearn.kinds.schema import Schema
from commlearn.seeds import numpy_generator

__all__ = ["GroupedTable", "open_groups", "split_by_hash", "streamed_dataset"]

LANES = 32  # groups that are visited at a time, at most
SAMPLED = 64  # groups that a sample is drawn from, at most
PARTS = ("train", "validation", "test")


class GroupedTable(Protocol):
    """A table whose rows lie in groups, each of which can be read alone."""

    @property
    def sizes(self) -> list[int]:
        """Rows of each group, in the table's order."""
        ...

    @property
    def root(self) -> Path:
        """To which paths in cells are relative."""
        ...

    def read(self, group: int, columns: Sequence[str] | None) -> pd.DataFrame:
        """The rows of one group."""
        ...


def open_groups(source: str) -> GroupedTable:
    """Parquet or tar files, here or at a URL."""
    path = Path(source)
    if not (path.exists() or is_remote(source)):
        raise DataError(f"There is no table {source}. Check the path.")
    tars = path.suffix == ".tar" or (not is_remote(source) and path.is_dir() and any(path.glob("*.tar")))
    if not (tars or is_remote(source) or path.is_dir() or path.suffix in (".parquet", ".pq")):
        raise ConfigurationError(
            f"{source} cannot be read in parts: its rows do not lie in groups. Write it as Parquet."
        )
    return TarTable(source) if tars else ParquetTable(source)


def streamed_dataset(
    source: str, schema: Schema, rows: int, validation: float = 0.0, test: float = 0.2, seed: int = 0
) -> Dataset:
    """The table's training rows, read as they are needed, and samples of all parts in memory.

    Args:
        source: a file or folder of Parquet or tar files, or its URL.
        schema: what the columns are.
        rows: in memory at a time, of the training; and of each sample, at most.
        validation: share of the rows, where no split column says it.
        test: likewise.
        seed: of the split and of the samples.
    """
    table = _Split(open_groups(source), schema, validation, test, seed)
    samples = {name: table.sample(name, rows) for name in PARTS if table.count(name)}
    if "train" not in samples:
        raise DataError(f"{source} leaves no rows to train on; give more rows, or smaller shares to test.")
    problems = Problems("The table does not fit the schema")
    for told in schema.missing(samples["train"].frame).values():
        problems.add(told)
    problems.raise_if_any(DataError)
    state = plain(schema.learn(samples["train"]))
    known = {name: schema.read(part, state, with_targets=True) for name, part in samples.items()}
    largest = max(table.grouped.sizes)
    lanes = 2 ** int(np.log2(np.clip(rows // (2 * largest), 1, min(LANES, len(table.grouped.sizes)))))
    groups = Groups(lambda group: table.read(group, state), table.counts["train"].tolist(), lanes)
    columns = {name: StreamedColumn(groups, name, spec) for name, spec in known["train"].specs.items()}
    return Dataset(
        train=StreamedRecords(dict(columns), groups=groups, known=known["train"]),
        test=known.get("test") or known["train"].choose(np.zeros(0, dtype=np.int64)),
        validation=known.get("validation"),
        probe=known["train"],
        schema=schema.to_mapping(),
        state=state,
        notes=(_told(table, known, lanes, largest),),
    )


def split_by_hash(
    table: Table | Cells, schema: Schema, validation: float = 0.0, test: float = 0.2, seed: int = 0
) -> dict[str, np.ndarray]:
    """Positions of the rows of each part, decided by each row's own group or place and nothing else.

    Example:
        >>> from commlearn.kinds.text import Text
        >>> table = Table(pd.DataFrame({"n": ["a"] * 1000}))
        >>> {name: len(rows) for name, rows in split_by_hash(table, Schema({"n": Text("n")})).items()}
        {'train': 805, 'test': 195}
    """
    if schema.split is not None:
        return schema.splits(table)
    keys = pd.util.hash_array(np.arange(table.first_row, table.first_row + len(table)))
    if schema.group is not None:
        raise_errors(schema.group, odd_names(table, schema.group))
        named = table.frame[schema.group]
        hashed = pd.util.hash_array(named.astype(str).to_numpy(dtype=object))
        keys = np.where(named.isna().to_numpy(), keys, hashed)
    moved = keys ^ numpy_generator(seed, "split").integers(0, 1 << 64, dtype=np.uint64, endpoint=False)
    share = pd.util.hash_array(moved) / 2.0**64
    part = np.where(share < test, 2, np.where(share < test + validation, 1, 0))
    rows = {name: np.flatnonzero(part == code) for code, name in enumerate(PARTS)}
    return {name: found for name, found in rows.items() if len(found)}


class _Split:
    """A table whose rows are parted, and how many rows of each part lie in each group."""

    def __init__(
        self, grouped: GroupedTable, schema: Schema, validation: float, test: float, seed: int
    ) -> None:
        self.grouped, self.schema = grouped, schema
        self.shares = (validation, test, seed)
        self.first = np.cumsum(grouped.sizes) - np.asarray(grouped.sizes)
        deciding = [column for column in (schema.split, schema.group) if column is not None]
        self.counts = {name: np.zeros(len(grouped.sizes), dtype=np.int64) for name in PARTS}
        for group, size in enumerate(grouped.sizes):
            frame = grouped.read(group, deciding) if deciding else pd.DataFrame(index=range(size))
            for name, rows in self._parts(Table(frame, grouped.root, int(self.first[group]))).items():
                self.counts[name][group] = len(rows)

    def count(self, name: str) -> int:
        return int(self.counts[name].sum())

    def read(self, group: int, state: Mapping[str, dict[str, Any]]) -> Records:
        """The training records of a group; what cannot be read in any of its rows is told."""
        table = self._table(group, with_targets=False)
        return self.schema.read(table, state).choose(self._parts(table)["train"])

    def sample(self, name: str, most: int) -> Table:
        """Rows of one part from groups all over the table, each with its share of them."""
        filled = np.flatnonzero(self.counts[name])
        chosen = filled[list(spread(len(filled), SAMPLED))]
        share = min(1.0, most / int(self.counts[name][chosen].sum()))
        frames = []
        for group in chosen.tolist():
            table = self._table(group, with_targets=True)
            rows = self._parts(table)[name]
            generator = numpy_generator(self.shares[2], f"sample {name}", group)
            kept = generator.choice(len(rows), max(1, int(share * len(rows))), replace=False)
            frames.append(table.frame.iloc[rows[np.sort(kept)]])
        return Table(pd.concat(frames, ignore_index=True), self.grouped.root)

    def _table(self, group: int, with_targets: bool) -> Table:
        deciding = [column for column in (self.schema.split, self.schema.group) if column is not None]
        columns = [*dict.fromkeys([*self.schema.columns(with_targets), *deciding])]
        return Table(self.grouped.read(group, columns), self.grouped.root, int(self.first[group]))

    def _parts(self, table: Table) -> dict[str, np.ndarray]:
        validation, test, seed = self.shares
        return split_by_hash(table, self.schema, validation, test, seed)


def _told(table: _Split, known: Mapping[str, Records], lanes: int, largest: int) -> str:
    """What is streamed, and what is looked at in its place, in one line."""
    parts = ", ".join(f"{len(part)} of {table.count(name)} {name} rows" for name, part in known.items())
    return (
        f"streamed: {len(table.grouped.sizes)} groups of at most {largest} rows, {lanes} open at a time and "
        f"as many read ahead; learned from, probed on and looked at: {parts}"
    )
