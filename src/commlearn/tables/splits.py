"""Which part each row of a table belongs to, decided by the row's own key or group and nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds.base import Cells
from commlearn.kinds.rows import raise_errors
from commlearn.seeds import numpy_generator
from commlearn.tables.names import odd_names
from commlearn.tables.row_keys import cell_keys, name_keys, shares
from commlearn.tables.schema import Schema
from commlearn.tables.table import Table

__all__ = ["PARTS", "RowNames", "deciding_columns", "parts_of_names", "row_names", "split_rows"]

PARTS = ("train", "validation", "test")


class RowNames(NamedTuple):
    """Which records the rows are, and which of them belong together."""

    keys: np.ndarray  # (rows,) uint64, from the id column, else from the cells of the modalities
    groups: np.ndarray | None  # (rows,) uint64; None if the schema names no group

    @property
    def units(self) -> np.ndarray:
        """What is never divided between parts: a group, else a record."""
        return self.keys if self.groups is None else self.groups


def deciding_columns(schema: Schema) -> tuple[str, ...]:
    """The columns that say which record a row is and which part it belongs to."""
    named = [column for column in (schema.id, schema.group, schema.split) if column is not None]
    cells = () if schema.id is not None else schema.columns(with_targets=False)
    return tuple(dict.fromkeys([*named, *cells]))


def row_names(table: Table | Cells, schema: Schema) -> RowNames | None:
    """Keys and groups of the rows; None if the table lacks columns that name them.

    Example:
        >>> from commlearn.kinds.text import Text
        >>> schema = Schema({"n": Text("note")}, group="who")
        >>> names = row_names(Table(pd.DataFrame({"who": ["a", "a", "b"], "note": ["x", "y", "y"]})), schema)
        >>> bool(names.keys[1] == names.keys[2]), bool(names.groups[0] == names.groups[1])
        (True, True)
    """
    frame = table.frame
    if schema.id is not None and schema.id in frame:
        raise_errors(schema.id, odd_names(table, schema.id))
        keys, given = name_keys(frame[schema.id])
        if not given.all():
            keys[~given] = _cells(frame[~given], schema)
    elif schema.id is None and set(schema.columns(with_targets=False)) <= set(frame.columns):
        keys = _cells(frame, schema)
    else:
        return None
    if schema.group is None or schema.group not in frame:
        return RowNames(keys, None)
    raise_errors(schema.group, odd_names(table, schema.group))
    groups, given = name_keys(frame[schema.group])
    groups[~given] = keys[~given]  # a row of no group is a group of its own
    return RowNames(keys, groups)


def _cells(frame: pd.DataFrame, schema: Schema) -> np.ndarray:
    columns = [column for column in schema.columns(with_targets=False) if column in frame]
    return cell_keys(frame, columns)


def split_rows(
    table: Table | Cells,
    schema: Schema,
    validation: float = 0.0,
    test: float = 0.2,
    seed: int = 0,
    names: RowNames | None = None,
) -> dict[str, np.ndarray]:
    """Positions of the rows of train, validation and test, each in the table's order.

    The schema's split column decides if there is one; else the hash of a row's group, or of its key. Adding,
    dropping or sorting rows therefore moves no other row to another part.

    Example:
        >>> from commlearn.kinds.text import Text
        >>> table = Table(pd.DataFrame({"n": [f"note {row}" for row in range(1000)]}))
        >>> {name: len(rows) for name, rows in split_rows(table, Schema({"n": Text("n")})).items()}
        {'train': 790, 'test': 210}
    """
    check_shares(validation, test)
    if schema.split is not None:
        rows = schema.splits(table)
    else:
        names = names or row_names(table, schema)
        if names is None:
            raise DataError(
                f"The table lacks the column '{schema.id}', which names its records, so they cannot be "
                "split as the training's were. Add it."
            )
        part = parts_of_names(names.units, validation, test, seed)
        positions = {name: np.flatnonzero(part == code) for code, name in enumerate(PARTS)}
        rows = {name: chosen for name, chosen in positions.items() if len(chosen)}
    if not len(rows.get("train", ())):
        where = f"column '{schema.split}'" if schema.split else f"the split of {len(table)} rows"
        raise DataError(f"{where} leaves no rows to train on; give more rows, or smaller shares to test.")
    return rows


def parts_of_names(units: np.ndarray, validation: float, test: float, seed: int) -> np.ndarray:
    """A part for each row, as a position in PARTS, from the unit that it belongs to.

    A part that would stay empty, as happens with few groups, gets the unit that is nearest to it.
    """
    salt = int(numpy_generator(seed, "split").integers(0, 1 << 64, dtype=np.uint64, endpoint=False))
    place = shares(units, salt)
    part = np.where(place < test, 2, np.where(place < test + validation, 1, 0))
    if test > 0 and not (part == 2).any() and len(np.unique(units)) > 1:
        part[place == place.min()] = 2
    if len(part) and not (part == 0).any():
        part[place == place.max()] = 0
    return part


def check_shares(validation: float, test: float) -> None:
    """Refuse shares that leave nothing to train on."""
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ConfigurationError(
            f"validation is {validation} and test is {test}; give shares of the rows from 0 to less than 1, "
            "together less than 1."
        )
