"""Assignment of a table's rows to parts, decided by each row's own key or group and nothing else.

A key is a number that identifies a record, derived from its id or its cells. It is the same whether the row
comes from memory, Parquet or CSV, first or last, alone or among others. What is derived from keys (which part
a row belongs to, whether a model was trained on it) therefore does not change when other rows are added,
dropped or sorted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds.rows import raise_errors
from commlearn.kinds.written import list_of
from commlearn.seeds import numpy_generator
from commlearn.tables.formats.reading import MIDNIGHT
from commlearn.tables.roles import odd_names
from commlearn.tables.schema import Schema
from commlearn.tables.table import Table

PARTS = ("train", "validation", "test")
EMPTY = np.uint64(0x9AE16A3B2F90404F)  # hash of an empty cell
WORDS_OF_BOOLEANS = {"true": 1.0, "false": 0.0}  # as text files store them, in any case
WHOLE_AS_FRACTION = re.compile(r"-?(?:0|[1-9]\d*)\.0")  # a whole number in a text file's column with gaps
SPLIT_SECONDS = re.compile(r"(:\d\d:\d\d)(?:\.0+|(\.\d*[1-9])0*)(?=$|[+-]\d\d:\d\d$)")
"""Fractions of seconds, perhaps before a zone: text files give all cells of a column the longest fraction."""
WHOLE = 2.0**53  # whole numbers up to here are exact as floats


class RowNames(NamedTuple):
    """Keys that identify the records of rows, and the groups that they belong to."""

    keys: np.ndarray  # (rows,) uint64, from the id column, or from the modalities' cells if there is no id
    groups: np.ndarray | None  # (rows,) uint64; None if there is no group column

    @property
    def units(self) -> np.ndarray:
        """What is never divided between parts: groups if there are any, otherwise records."""
        return self.keys if self.groups is None else self.groups

    def take(self, rows: np.ndarray) -> RowNames:
        return RowNames(self.keys[rows], None if self.groups is None else self.groups[rows])


def deciding_columns(schema: Schema) -> tuple[str, ...]:
    """Return the columns that determine which record a row is and which part it belongs to."""
    columns = [column for column in (schema.id, schema.group, schema.split) if column is not None]
    cells = () if schema.id is not None else schema.columns(with_targets=False)
    return tuple(dict.fromkeys([*columns, *cells]))


def row_names(table: Table, schema: Schema) -> RowNames | None:
    """Return the keys and groups of the rows; None if the table lacks the columns that keys need.

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
        keys, present = name_keys(frame[schema.id])
        if not present.all():
            columns = [column for column in schema.columns(with_targets=False) if column in frame]
            keys[~present] = cell_keys(frame[~present], columns)
    elif schema.id is None and set(schema.columns(with_targets=False)) <= set(frame.columns):
        keys = cell_keys(frame, schema.columns(with_targets=False))
    else:
        return None
    if schema.group is None or schema.group not in frame:
        return RowNames(keys, None)
    raise_errors(schema.group, odd_names(table, schema.group))
    groups, present = name_keys(frame[schema.group])
    groups[~present] = keys[~present]  # a row without a group forms its own group
    return RowNames(keys, groups)


def split_rows(
    table: Table,
    schema: Schema,
    validation: float = 0.0,
    test: float = 0.2,
    seed: int = 0,
    names: RowNames | None = None,
) -> dict[str, np.ndarray]:
    """Return the positions of the rows of train, validation and test, each in the table's order.

    The schema's split column decides if there is one; otherwise the hash of a row's group or key does.
    Adding, dropping or sorting rows therefore moves no other row to another part.

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
                f"The table lacks the column '{schema.id}', which identifies its records, so it cannot be "
                "split as in training. Add the column."
            )
        part = parts_of_names(names.units, validation, test, seed)
        positions = {name: np.flatnonzero(part == code) for code, name in enumerate(PARTS)}
        rows = {name: members for name, members in positions.items() if len(members)}
    if not len(rows.get("train", ())):
        source = f"column '{schema.split}'" if schema.split else f"the split of {len(table)} rows"
        raise no_training_rows(source)
    return rows


def no_training_rows(source: str) -> DataError:
    """Return the error that a split leaves nothing to train on."""
    way_out = "give more rows, or smaller shares for validation and test."
    return DataError(f"{source} leaves no rows to train on; {way_out}")


def parts_of_names(units: np.ndarray, validation: float, test: float, seed: int) -> np.ndarray:
    """Return a part for each row, as a position in PARTS, determined by the row's unit.

    If test or train would stay empty, as happens with few groups, it gets the unit that is nearest to it;
    validation may stay empty.
    """
    salt = int(numpy_generator(seed, "split").integers(0, 1 << 64, dtype=np.uint64, endpoint=False))
    position = _mix(units ^ np.uint64(salt)) / 2.0**64  # between 0 and 1, uniform over all keys
    part = np.where(position < test, 2, np.where(position < test + validation, 1, 0))
    if test > 0 and not (part == 2).any() and len(np.unique(units)) > 1:
        part[position == position.min()] = 2
    if len(part) and not (part == 0).any():
        part[position == position.max()] = 0
    return part


def check_shares(validation: float, test: float) -> None:
    """Check that the shares are valid and leave something to train on."""
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ConfigurationError(
            f"validation is {validation} and test is {test}; give shares of the rows from 0 to less than 1, "
            "together less than 1."
        )


def name_keys(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return a key for each name (id or group), and which cells hold one. Names are compared as text.

    Example:
        >>> ids, present = name_keys(pd.Series([7.0, 8.0, None]))
        >>> bool(ids[0] == name_keys(pd.Series(["7"]))[0][0]), present.tolist()
        (True, [True, True, False])
    """
    texts = np.array([_name(value) for value in values.tolist()], dtype=object)
    present = np.array([text is not None for text in texts], dtype=bool)
    keys = np.zeros(len(texts), dtype=np.uint64)
    if present.any():
        keys[present] = pd.util.hash_array(texts[present], categorize=False)
    return keys, present


def cell_keys(frame: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return a key for each row, hashed from its cells, (rows,) uint64; copies of a row share one.

    Fractions are compared as a model reads them, in 32 bits, so that the same table in another format has
    the same keys; whole numbers are compared exactly.

    Example:
        >>> one = pd.DataFrame({"a": [1, 2], "v": [[0.5, 1], None]})
        >>> other = pd.DataFrame({"v": [None, "[0.5, 1.0]"], "a": [2.0, 1.0]})
        >>> cell_keys(one, ["a", "v"]).tolist() == cell_keys(other, ["a", "v"])[::-1].tolist()
        True
    """
    keys = np.full(len(frame), EMPTY, dtype=np.uint64)
    for column in columns:
        keys = _mix(keys * np.uint64(0x9E3779B97F4A7C15) + _cells(frame[column]))
    return keys


def _name(value: Any) -> str | None:
    if isinstance(value, str):
        text = value.strip()
        if WHOLE_AS_FRACTION.fullmatch(text):
            return text.partition(".")[0]
        return _moment(text) or None
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return _moment(str(value)) if isinstance(value, date | time | timedelta) else str(value)


def _moment(text: str) -> str:
    """Return a date, time or duration without what only some formats write: midnight and trailing zeros."""
    return SPLIT_SECONDS.sub(r"\1\2", text).removesuffix(MIDNIGHT)


def _cells(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        return _numbers(values.to_numpy(dtype=np.float64, na_value=np.nan))
    cells = values.astype(object).tolist()
    hashes = np.full(len(cells), EMPTY, dtype=np.uint64)
    texts: dict[int, str] = {}
    numbers: dict[int, float] = {}
    for row, cell in enumerate(cells):
        value = _plain_value(cell)
        if isinstance(value, str):
            texts[row] = value
        elif isinstance(value, float):
            numbers[row] = value
        elif isinstance(value, bytes):
            hashes[row] = int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "little")
    if texts:
        distinct = np.array(list(texts.values()), dtype=object)
        hashes[list(texts)] = pd.util.hash_array(distinct, categorize=False)
    if numbers:
        hashes[list(numbers)] = _numbers(np.array(list(numbers.values())))
    return hashes


def _plain_value(cell: Any) -> str | float | bytes | None:
    """Convert a cell to text, a number, or bytes for anything else; None if it is empty."""
    if isinstance(cell, str):
        text = cell.strip()
        if text.startswith("["):
            try:
                listed = list_of(text)
                return _plain_value(listed) if listed or not text.strip("[] ") else text  # [nan] is not []
            except (ValueError, SyntaxError):
                return text
        if not text or text[0] not in "+-.0123456789":
            return WORDS_OF_BOOLEANS.get(text[:6].lower(), text or None)
        try:
            return float(text)  # so that a number and its text get the same key
        except ValueError:
            return _moment(text)  # as for other dates below
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return None
    if isinstance(cell, bool | int | float | Decimal | np.number | np.bool_):
        number = float(cell) if not isinstance(cell, int) or abs(cell) < 10**300 else float("inf")
        return None if number != number else number
    if isinstance(cell, bytes | bytearray):
        return bytes(cell)
    if isinstance(cell, date | time | timedelta):  # as text files store it
        return _moment(str(cell))
    if isinstance(cell, PurePath | pd.Interval):  # the same
        return _plain_value(str(cell))
    return _array_bytes(cell)


def _array_bytes(cell: Any) -> bytes:
    """Return shape and content of an array or nested lists as bytes; for other objects their JSON text."""
    if isinstance(cell, np.ndarray) and cell.dtype == object:  # what Parquet makes of lists
        cell = cell.tolist()
    with suppress(TypeError, ValueError, OverflowError, RuntimeError):
        array = np.asarray(cell)
        if array.dtype == object:
            array = np.asarray(cell, dtype=np.float64)
        if array.dtype.kind in "biuf":
            hashes = _numbers(np.asarray(array, dtype=np.float64).reshape(-1))
            return repr(array.shape).encode() + hashes.tobytes()
    try:
        return json.dumps(cell, sort_keys=True, default=_listed).encode(errors="replace")
    except (TypeError, ValueError, RecursionError):
        return type(cell).__name__.encode(errors="replace")


def _listed(value: Any) -> Any:
    """Return an array inside a cell as a list; its text would leave out what is in the middle."""
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return a hash of each number: whole numbers exactly, others as 32 bits represent them."""
    is_whole = (np.abs(values) < WHOLE) & (values == np.round(values))
    with np.errstate(over="ignore", invalid="ignore"):
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64) | np.uint64(1 << 62)
        bits[is_whole] = values[is_whole].astype(np.int64).view(np.uint64)
    hashes = _mix(bits)
    hashes[np.isnan(values)] = EMPTY
    return hashes


def _mix(values: np.ndarray) -> np.ndarray:
    """splitmix64: every bit of the input moves every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
