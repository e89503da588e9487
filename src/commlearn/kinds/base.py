"""A kind of modality: all that the library must know to read, learn from and embed it.

One file per kind. A kind says which columns of a table it reads, what it learns from the training
rows (plain values, saved as JSON with the model), and how cells become a `Column` of tensors. The kind
that the column's `Spec` names chooses encoder and augmentation unless the user does: several kinds of
cells may become vectors.
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

DIVISORS = ("scale", "std")  # keys of numbers that values are divided by


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a table, named so that the user finds it."""

    message: str  # names the thing, shows the value, says what to do
    column: str = ""
    row: int | str | None = None  # position in the table, or the record's id
    level: Literal["error", "warning"] = "error"  # an error stops, a warning is shown
    id: str = ""  # of the record in this row, where the table has ids

    def __str__(self) -> str:
        row = "" if self.row is None else f"row {self.row}" + (f" (id {self.id})" if self.id else "")
        where = " ".join(part for part in (self.column, row) if part)
        return f"{where}: {self.message}" if where else self.message


@dataclass(frozen=True)
class Cells:
    """Rows of a table, and where it lies: paths in cells are relative to it."""

    frame: pd.DataFrame  # index 0..n-1
    root: Path = field(default_factory=Path)
    first_row: int = 0  # position of the first row in the whole table, for messages of streamed chunks

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: Any) -> Cells:
        return Cells(self.frame.iloc[rows].reset_index(drop=True), self.root)


@dataclass(frozen=True)
class Kind:
    """Base of all kinds; a subclass is a frozen dataclass whose fields are what a schema states.

    The first field is its column or its columns; the others are settings and have defaults.
    """

    name: ClassVar[str]  # in YAML: `kind: image`

    def columns(self) -> tuple[str, ...]:
        """The columns of the table that it reads: the first field."""
        stated: str | Sequence[str] = getattr(self, fields(self)[0].name)  # type: ignore[arg-type]
        return (stated,) if isinstance(stated, str) else tuple(stated)

    def names(self) -> Sequence[str]:
        """Columns whose cells are read as text even if they look like numbers."""
        return ()

    def learn(self, cells: Cells) -> dict[str, Any]:
        """Statistics of the training rows, as plain values that JSON holds (no NaN, no arrays)."""
        raise NotImplementedError

    def notes(self, state: Mapping[str, Any]) -> Sequence[str]:
        """Lines for the log about what was learned."""
        return ()

    def read(self, cells: Cells, state: dict[str, Any]) -> Column:
        """The cells as a column of tensors, standardised with what was learned.

        A record without the modality (an empty cell, or all of several cells empty) is marked absent.
        What cannot be read raises one DataError that names every such row (the first ten, and how many).
        """
        raise NotImplementedError

    def check(self, cells: Cells) -> list[Problem]:
        """Everything wrong with the cells, without raising: unreadable, constant, of the wrong type."""
        raise NotImplementedError


def plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state as JSON gives it back: a model that was saved reads a table as it did before."""
    return json.loads(json.dumps(state))


def check_learned(state: Mapping[str, Any] | None, where: str = "preprocessing") -> None:
    """Refuse numbers that would make every record infinite or NaN.

    Args:
        state: what each modality learned, as plain values.
        where: what to call it.

    Example:
        >>> check_learned({"labs": {"mean": [0.5], "scale": [0.0]}})
        Traceback (most recent call last):
        commlearn.errors.ConfigurationError: preprocessing.labs.scale.0 is 0.0; it should be above 0.
    """
    if state is not None:
        _check(state, where, divisor=False)


def _check(value: Any, where: str, divisor: bool) -> None:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check(entry, f"{where}.{key}", key in DIVISORS)
    elif isinstance(value, list | tuple):
        for place, entry in enumerate(value):
            _check(entry, f"{where}.{place}", divisor)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigurationError(f"{where} is {value}; it should be a finite number.")
    elif divisor and isinstance(value, int | float) and not value > 0:
        raise ConfigurationError(f"{where} is {value}; it should be above 0.")
