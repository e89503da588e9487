"""What is stated about cells before they are read: which are names, and which words mean an empty cell."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

__all__ = ["MISSING_NUMBERS", "PLAIN", "Reading"]

MISSING_NUMBERS = (
    *("NA", "N/A", "n/a", "na", "<NA>", "#N/A", "#N/A N/A", "#NA", "NaN", "nan", "-NaN", "-nan"),
    *("NULL", "null", "None", "none", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
"""What programs write among numbers where there is none. Among words, these are words like others."""


@dataclass(frozen=True)
class Reading:
    """How the cells of a table are read where its format does not say it."""

    names: frozenset[str] = frozenset()  # columns whose cells name something: `007` is no 7
    missing: tuple[str, ...] = ()  # words that stand for an empty cell, in every column

    def emptied(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows without the words that stand for an empty cell."""
        if not self.missing:
            return frame
        texts = [name for name in frame if _may_hold_text(frame[name])]
        without = {name: frame[name].mask(_is_one_of(frame[name], self.missing), None) for name in texts}
        return frame.assign(**without)


PLAIN = Reading()


def _may_hold_text(column: pd.Series) -> bool:
    return column.dtype == object or isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype)


def _is_one_of(column: pd.Series, words: tuple[str, ...]) -> pd.Series:
    if isinstance(column.dtype, pd.StringDtype):
        return column.str.strip().isin(words)
    cells = column.astype(object)  # some of which cannot be compared with text, such as arrays
    return cells.map(lambda cell: isinstance(cell, str) and cell.strip() in words).astype(bool)
