"""Cells that cannot be read, such as paths of dead files, may count as missing: which, and how many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from commlearn.errors import DataError
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.rows import LISTED, UnreadableError

__all__ = ["LIMIT", "UNREADABLE", "WAY_OUT", "Unreadable"]

UNREADABLE = ("error", "missing")  # what a schema may state of cells that cannot be read
WAY_OUT = "To go on without such cells, and have a list of them, state in the schema: unreadable: missing"
LIMIT = 5.0  # percent of the filled cells of a modality, at most, that count as missing
PART = 1_000  # filled cells from which a part of a table is judged before its end
Result = TypeVar("Result")


class Unreadable:
    """Empties the cells that a kind refuses by row, and keeps a list of them.

    One cell of a modality is always allowed, be the table ever so short.

    Args:
        limit: percent of the filled cells of each modality that may be unreadable.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self.entries: list[Mapping[str, Any]] = []  # modality, column, row and problem of each cell
        self._cells: set[tuple[str, str, int]] = set()
        self._rows: dict[str, set[int]] = {}
        self._filled: dict[tuple[str, int], int] = {}  # cells of each part of the table, by its first row
        self._lock = Lock()  # groups of a streamed table are read by threads

    def without(
        self, name: str, kind: Kind, cells: Cells, read: Callable[[Cells], Result]
    ) -> tuple[Result, Cells]:
        """What `read` makes of the cells, those emptied that it refuses; and these cells.

        Args:
            name: of the modality.
            kind: that reads them.
            cells: rows of a table, or of a part of it.
            read: raises UnreadableError as long as it refuses any.
        """
        filled = int((~cells.frame[list(kind.columns())].isna().all(axis=1)).sum())
        with self._lock:
            self._filled[name, cells.first_row] = filled
        while True:
            try:
                return read(cells), cells
            except UnreadableError as problem:
                emptied = _emptied(kind, cells, problem.problems)
                if emptied is None:
                    raise
                cells = emptied
                self._note(name, problem.problems)

    def judge(self, at_end: bool = True) -> None:
        """Refuse more of them than the limit allows.

        Args:
            at_end: all of the table was read; else a part of it is judged only if it is large.
        """
        for name, rows in self._rows.items():
            filled = sum(count for (modality, _), count in self._filled.items() if modality == name)
            allowed = self.limit / 100 * (filled if at_end else max(filled, PART))
            if len(rows) > max(1, allowed):
                first = next(entry for entry in self.entries if entry["modality"] == name)
                share = 100 * len(rows) / filled
                raise DataError(
                    f"{name}: {len(rows)} of {filled} cells cannot be read ({share:.1f} %), "
                    f"more than the {self.limit:g} % that may count as missing. The first is row "
                    f"{first['row']}, {first['column']}: {first['problem']}. Mend them, or allow more: "
                    "unreadable_limit in the schema"
                )

    def lines(self) -> list[str]:
        """For each modality, how many cells count as missing, and which."""
        lines = []
        for name, rows in self._rows.items():
            filled = sum(count for (modality, _), count in self._filled.items() if modality == name)
            shown = ", ".join(map(str, sorted(rows)[:LISTED])) + (", ..." if len(rows) > LISTED else "")
            first = next(entry for entry in self.entries if entry["modality"] == name)
            lines.append(
                f"{name}: {len(rows)} of {filled} cells cannot be read and count as missing (rows {shown}); "
                f"the first: {first['problem']}"
            )
        return lines

    def problems(self) -> list[Problem]:
        """The cells as warnings."""
        return [
            Problem(f"counts as missing: {entry['problem']}", entry["column"], entry["row"], "warning")
            for entry in self.entries
        ]

    def _note(self, name: str, problems: tuple[Problem, ...]) -> None:
        with self._lock:
            for problem in problems:
                row = problem.row
                if isinstance(row, int) and (name, problem.column, row) not in self._cells:
                    self._cells.add((name, problem.column, row))
                    self._rows.setdefault(name, set()).add(row)
                    entry = {"modality": name, "column": problem.column, "row": row}
                    self.entries.append({**entry, "problem": problem.message})


def _emptied(kind: Kind, cells: Cells, problems: tuple[Problem, ...]) -> Cells | None:
    """Without the refused cells: of a table they are single ones, else all of the modality's in the row.

    None if nothing would be emptied.
    """
    columns = list(kind.columns())
    empty = {column: np.zeros(len(cells), dtype=bool) for column in columns}
    for problem in problems:
        if isinstance(problem.row, int):
            single = kind.name == "tabular" and problem.column in empty
            for column in (problem.column,) if single else columns:
                empty[column][problem.row - cells.first_row] = True
    changes = any((cells.frame[column].notna() & hit).any() for column, hit in empty.items())
    if not changes:
        return None
    frame = cells.frame.assign(
        **{
            column: cells.frame[column].astype(object).mask(hit, None) if hit.any() else cells.frame[column]
            for column, hit in empty.items()
        }
    )
    return Cells(frame, cells.root, cells.first_row)
