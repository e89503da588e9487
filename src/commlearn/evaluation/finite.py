"""Embeddings that are not finite are refused, and the rows named whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from commlearn.data.tables import Table
from commlearn.errors import DivergedError

__all__ = ["NotFiniteError", "naming_rows", "refuse_not_finite"]

SHOWN = 10  # rows in a message


class NotFiniteError(DivergedError):
    """Embeddings hold infinities or NaN.

    Args:
        rows: numbers of the records whose embeddings they are.
        names: what each is called, if anything.
    """

    def __init__(self, rows: Sequence[int], names: Sequence[str] = ()) -> None:
        self.rows = rows
        shown = [
            f"row {row} ({names[place]})" if names else f"row {row}" for place, row in enumerate(rows[:SHOWN])
        ]
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        super().__init__(
            f"The embedding is not finite of {', '.join(shown)}{more}. Look for extreme values there; if "
            "there are none, the model's weights or its preprocessing are damaged."
        )


def refuse_not_finite(vectors: np.ndarray, first_row: int = 0) -> None:
    """Refuse embeddings, (records, dim), that hold infinities or NaN.

    Example:
        >>> try:
        ...     refuse_not_finite(np.array([[0.0, 1.0], [np.nan, 0.0]]), first_row=10)
        ... except NotFiniteError as problem:
        ...     print(problem.rows)
        [11]
    """
    rows = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(rows):
        raise NotFiniteError((first_row + rows).tolist())


@contextmanager
def naming_rows(table: Table, id_column: str | None) -> Iterator[None]:
    """Name rows of the table that are embedded here by their number in all of it, and by their id."""
    try:
        yield
    except NotFiniteError as problem:
        ids = table.frame[id_column].tolist() if id_column in table.frame else None
        names = [] if ids is None else [f"{id_column} {ids[row]!s:.40}" for row in problem.rows]
        raise NotFiniteError([table.first_row + row for row in problem.rows], names) from problem
