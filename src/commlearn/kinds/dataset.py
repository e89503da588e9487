"""A table as a data set: read, split, and prepared with what its training rows taught."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from commlearn.data.records import Dataset
from commlearn.data.tables import Table, read_table
from commlearn.errors import ConfigurationError, DataError, Problems
from commlearn.kinds.base import Cells, plain
from commlearn.kinds.names import odd_names
from commlearn.kinds.rows import collecting, raise_errors
from commlearn.kinds.schema import Schema
from commlearn.kinds.streamed_table import streamed_dataset
from commlearn.kinds.targets import encode_target
from commlearn.seeds import numpy_generator

__all__ = ["TableData", "dataset_of", "split_rows"]


@dataclass(frozen=True)
class TableData:
    """Any table that a schema describes.

    Rows are split as its split column says; else by whole groups, if the schema names a group column;
    else at random.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.csv"
        >>> written = path.write_text("a,b\\n" + "".join(f"{row},{row % 3}\\n" for row in range(10)))
        >>> data = TableData(str(path), {"modalities": {"t": {"kind": "tabular", "columns": ["a", "b"]}}})
        >>> len(data.read().train), len(data.read().test)
        (8, 2)
    """

    table: str  # Parquet (file or folder), tar files of WebDataset, CSV, TSV or JSON lines
    schema: dict[str, Any]  # its modalities, targets, id, group and split
    validation: float = 0.0  # share of the rows, where no split column says it
    test: float = 0.2  # likewise
    seed: int = 0  # of the split
    stream: int = 0  # rows in memory at a time, of Parquet or tar files; 0 = the whole table

    def read(self) -> Dataset:
        """Reads the table and learns from its training rows alone."""
        if not self.table:
            raise DataError("The training's table was in memory, not in a file. Name a table to read.")
        schema = Schema.from_mapping(self.schema)
        _check_shares(self.validation, self.test)
        if self.stream < 0:
            raise ConfigurationError(f"stream is {self.stream}; give the rows in memory, or 0 for all.")
        if self.stream:
            return streamed_dataset(self.table, schema, self.stream, self.validation, self.test, self.seed)
        table = read_table(self.table, schema.columns())
        return dataset_of(table, schema, self.validation, self.test, self.seed)


def dataset_of(
    table: Table, schema: Schema, validation: float = 0.0, test: float = 0.2, seed: int = 0
) -> Dataset:
    """The table's records, split; what is wrong with any of them is told at once.

    Args:
        table: rows and where they lie.
        schema: what the columns are.
        validation: share of the rows, where no split column says it.
        test: likewise.
        seed: of the split.
    """
    problems = Problems("The table does not fit the schema")
    for told in schema.missing(table.frame).values():
        problems.add(told)
    problems.raise_if_any(DataError)
    problems = Problems("The table cannot be trained on")
    rows: dict[str, np.ndarray] = {}
    with collecting(problems, "split"):
        rows = split_rows(table, schema, validation, test, seed)
    learning = Problems("learning")
    with collecting(learning, "learning"):
        state = plain(schema.learn(table, rows.get("train")))
    for told in learning.found and (_unreadable(table, schema) or learning.found):
        problems.add(told)
    if problems.found:  # tell what reading would have told, too
        _collect_the_rest(problems, table, schema)
    problems.raise_if_any(DataError)
    records = schema.read(table, state, with_targets=True)
    parts = {name: records.choose(chosen) for name, chosen in rows.items()}
    nothing = records.choose(np.zeros(0, dtype=np.int64))
    return Dataset(
        train=parts["train"],
        test=parts.get("test", nothing),
        validation=parts.get("validation"),
        schema=schema.to_mapping(),
        state=state,
    )


def split_rows(
    table: Table | Cells, schema: Schema, validation: float = 0.0, test: float = 0.2, seed: int = 0
) -> dict[str, np.ndarray]:
    """Positions of the rows of train, validation and test, each in the table's order.

    Example:
        >>> from commlearn.kinds.text import Text
        >>> table = Table(pd.DataFrame({"who": list("aabbccdd"), "note": list("abcdefgh")}))
        >>> rows = split_rows(table, Schema({"n": Text("note")}, group="who"), test=0.25)
        >>> len(rows["train"]), table.frame["who"][rows["test"]].nunique()
        (6, 1)
    """
    _check_shares(validation, test)
    if schema.split is not None:
        rows = schema.splits(table)
    elif schema.group is not None:
        raise_errors(schema.group, odd_names(table, schema.group))
        rows = _shares(_groups(table.frame[schema.group]), validation, test, seed)
    else:
        rows = _shares(np.arange(len(table)), validation, test, seed)
    if not len(rows.get("train", ())):
        where = f"column '{schema.split}'" if schema.split else f"the split of {len(table)} rows"
        raise DataError(f"{where} leaves no rows to train on; give more rows, or smaller shares to test.")
    return rows


def _shares(groups: np.ndarray, validation: float, test: float, seed: int) -> dict[str, np.ndarray]:
    """Whole groups, in a random order, until a part has its share of the rows; the rest is train."""
    order = numpy_generator(seed, "split").permutation(int(groups.max()) + 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    sizes = np.bincount(groups)[order].cumsum() / len(groups)  # share of the rows up to each group
    middle = sizes - np.bincount(groups)[order] / len(groups) / 2  # rounds to the nearer side
    part = np.where(middle < test, 2, np.where(middle < test + validation, 1, 0))
    if (part == 0).sum() == 0:
        part[-1] = 0
    if test > 0 and (part == 2).sum() == 0 and len(part) > 1:
        part[0] = 2
    named = part[place[groups]]
    rows = {name: np.flatnonzero(named == code) for code, name in enumerate(("train", "validation", "test"))}
    return {name: chosen for name, chosen in rows.items() if len(chosen)}


def _groups(values: pd.Series) -> np.ndarray:
    """A number for each row's group; a row of no group is a group of its own."""
    codes = pd.factorize(values)[0].astype(np.int64)
    alone = codes < 0
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(alone.sum())
    return codes


def _check_shares(validation: float, test: float) -> None:
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ConfigurationError(
            f"validation is {validation} and test is {test}; give shares of the rows from 0 to less than 1, "
            "together less than 1."
        )


def _unreadable(table: Table, schema: Schema) -> list[str]:
    """What is wrong with the cells of every modality, those too that could be learned from."""
    cells = Cells(table.frame, table.root, table.first_row)
    found = [problem for kind in schema.modalities.values() for problem in kind.check(cells)]
    return [str(problem) for problem in found if problem.level == "error"]


def _collect_the_rest(problems: Problems, table: Table, schema: Schema) -> None:
    cells = Cells(table.frame, table.root, table.first_row)
    with collecting(problems, "id"):
        schema.ids(cells)
    for name, sort in schema.targets.items():
        with collecting(problems, f"target '{name}'"):
            encode_target(cells, name, sort)
