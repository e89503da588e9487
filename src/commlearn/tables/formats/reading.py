"""Settings for reading cells: which are names, and which words mean an empty cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Reading:
    """How the cells of a table are read if its format does not determine it."""

    names: frozenset[str] = frozenset()  # columns whose cells are names: `007` is not the number 7
    missing: tuple[str, ...] = ()  # words that mean an empty cell in every column
    missing_in: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # words or numbers, by column
    encoding: str = ""  # encoding of text files; if not given, UTF-8 or guessed from their bytes

    def emptied(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with values that mean an empty cell made empty.

        Example:
            >>> Reading(missing_in={"age": [-999]}).emptied(pd.DataFrame({"age": [31, -999]}))["age"].tolist()
            [31.0, nan]
        """
        columns = {}
        for name in frame if self.missing or self.missing_in else ():
            values = (*self.missing, *self.missing_in.get(name, ()))
            if values and _may_hold_text(frame[name]):
                columns[name] = frame[name].mask(_is_one_of(frame[name], values), None)
            elif name in self.missing_in and pd.api.types.is_numeric_dtype(frame[name]):
                hit = frame[name].isin(_numbers(values)).to_numpy()
                columns[name] = frame[name].mask(hit, np.nan) if hit.any() else frame[name]
        return frame.assign(**columns) if columns else frame

    def words_in(self, column: str) -> list[str]:
        """Return the words that mean an empty cell in a column of a text file."""
        return [*self.missing, *map(str, self.missing_in.get(column, ()))]


PLAIN = Reading()


def _may_hold_text(column: pd.Series) -> bool:
    return column.dtype == object or isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype)


def _numbers(values: Sequence[Any]) -> list[Any]:
    """Return those values that are numbers, including numbers written as text."""
    numbers = [value for value in values if not isinstance(value, str)]
    for value in values:
        with suppress(TypeError, ValueError):
            numbers += [float(value)] if isinstance(value, str) else []
    return numbers


def _is_one_of(column: pd.Series, values: Sequence[Any]) -> pd.Series:
    words = [str(value) for value in values]
    if isinstance(column.dtype, pd.StringDtype):
        return column.str.strip().isin(words)
    numbers = _numbers(values)
    cells = column.astype(object)  # some cells cannot be compared with text, such as arrays
    return cells.map(
        lambda cell: (
            cell.strip() in words
            if isinstance(cell, str)
            else isinstance(cell, int | float | Decimal | np.number) and cell in numbers
        )
    ).astype(bool)
