"""Base class of the kinds of modality: all that the library needs to read, learn from and embed one.

Each kind has its own file. It defines which columns of a table it reads, what it learns from the training
rows (plain values, saved as JSON with the model), and how cells become a `Column` of tensors. The kind
named in the column's `Spec` determines encoder and augmentation unless the user chooses them: several
kinds of cells may become vectors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from commlearn.errors import ConfigurationError
from commlearn.records import Column

DIVISORS = ("scale", "std")  # keys of learned numbers by which values are divided


@dataclass(frozen=True)
class Problem:
    """One problem with a table, described so that the user can find it."""

    message: str  # names the thing, shows the value, says what to do
    column: str = ""
    row: int | str | None = None  # position in the table, or the record's id
    level: Literal["error", "warning"] = "error"  # an error stops, a warning is shown
    id: str = ""  # id of the record in this row, if the table has ids

    def __str__(self) -> str:
        row = "" if self.row is None else f"row {self.row}" + (f" (id {self.id})" if self.id else "")
        location = " ".join(part for part in (self.column, row) if part)
        return f"{location}: {self.message}" if location else self.message


@dataclass(frozen=True)
class Cells:
    """Rows of a table, and the folder to which paths in their cells are relative."""

    frame: pd.DataFrame  # index 0..n-1
    root: Path = field(default_factory=Path)
    first_row: int = 0  # position of the first row in the whole table, for messages of streamed chunks

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: Any) -> Cells:
        return Cells(self.frame.iloc[rows].reset_index(drop=True), self.root)


@dataclass(frozen=True)
class Kind:
    """Base of all kinds; a subclass is a frozen dataclass whose fields are the entries of a schema.

    The first field is its column or columns; the others are settings with defaults.
    """

    name: ClassVar[str]  # in YAML: `kind: image`

    def columns(self) -> tuple[str, ...]:
        """Return the columns of the table that the kind reads, which its first field names."""
        columns: str | Sequence[str] = getattr(self, fields(self)[0].name)  # type: ignore[arg-type]
        return (columns,) if isinstance(columns, str) else tuple(columns)

    def names(self) -> Sequence[str]:
        """Return the columns whose cells are read as text even if they look like numbers."""
        return ()

    def learn(self, cells: Cells) -> dict[str, Any]:
        """Return statistics of the training rows, as plain values that fit into JSON (no NaN, no arrays)."""
        raise NotImplementedError

    def notes(self, state: Mapping[str, Any]) -> Sequence[str]:
        """Return lines for the log about what was learned."""
        return ()

    def read(self, cells: Cells, state: dict[str, Any]) -> Column:
        """Return the cells as a column of tensors, standardised with the learned statistics.

        A record without the modality (an empty cell, or several cells that are all empty) is marked absent.
        If cells cannot be read, one DataError reports how many rows are affected and names the first ten.
        """
        raise NotImplementedError

    def check(self, cells: Cells) -> list[Problem]:
        """Return all problems with the cells without raising: unreadable, constant or of the wrong type."""
        raise NotImplementedError


def plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state as read back from JSON, so that a saved model reads a table as it did before."""
    return json.loads(json.dumps(state))


def check_learned(state: Any, where: str = "preprocessing", divisor: bool = False) -> None:
    """Refuse numbers that would make every record infinite or NaN.

    Args:
        state: what each modality learned, as plain values, or a part of it.
        where: what to call the state in messages.
        divisor: whether values are divided by its numbers.

    Example:
        >>> check_learned({"labs": {"mean": [0.5], "scale": [0.0]}})
        Traceback (most recent call last):
        commlearn.errors.ConfigurationError: preprocessing.labs.scale.0 is 0.0; it should be above 0.
    """
    if isinstance(state, Mapping):
        for key, entry in state.items():
            check_learned(entry, f"{where}.{key}", key in DIVISORS)
    elif isinstance(state, list | tuple):
        for index, entry in enumerate(state):
            check_learned(entry, f"{where}.{index}", divisor)
    elif isinstance(state, float) and not math.isfinite(state):
        raise ConfigurationError(f"{where} is {state}; it should be a finite number.")
    elif divisor and isinstance(state, int | float) and not state > 0:
        raise ConfigurationError(f"{where} is {state}; it should be above 0.")
