"""Vectors of one length: embeddings that another model made, or any fixed number of measurements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pandas.api import types

from commlearn.batch import Spec
from commlearn.errors import DataError
from commlearn.kinds.arrays import ArrayColumn, array_of, flat_lists, is_blank, present_or_none, shown
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.numbers import CHUNK, LIMIT, numbers_of, outside, usual_range, wrong_numbers
from commlearn.kinds.rows import first_ten, label, map_rows, named_columns, raise_errors
from commlearn.records import Column

SAMPLE = 100  # vectors that determine the length


@dataclass(frozen=True)
class Vector(Kind):
    """One column of vectors (lists, arrays, paths of .npy files), or several columns of numbers.

    Example:
        >>> import pandas as pd
        >>> cells = Cells(pd.DataFrame({"emb": [[1.0, 2.0], None, [3.0, 2.5]]}))
        >>> kind = Vector("emb")
        >>> kind.read(cells, kind.learn(cells)).spec.shape
        (2,)
    """

    name: ClassVar[str] = "vector"

    fields: Sequence[str] | str  # one column of vectors, or a column for each feature
    standardise: bool = True  # to mean 0 and deviation 1 over the training rows, clipped to 6 deviations
    outside: bool = False  # paths may leave the table's folder

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", named_columns("Vector", self.fields))

    def learn(self, cells: Cells) -> dict[str, Any]:
        """Return the number of features, and each one's mean and scale."""
        values, present, problems = self._matrix(cells, None)
        raise_errors(label(self.columns()), problems)
        if not present.any():
            raise DataError(f"{label(self.columns())}: none of the training rows has a vector.")
        state: dict[str, Any] = {"features": values.shape[1]}
        if self.standardise:
            mean, scale = _moments(values if present.all() else values[present])
            state |= {"mean": mean.tolist(), "scale": scale.tolist()}
        return state

    def read(self, cells: Cells, state: dict[str, Any]) -> Column:
        """Return the vectors, standardised and clipped; zeros if a record has none."""
        values, present, problems = self._matrix(cells, state["features"])
        raise_errors(label(self.columns()), problems)
        if "mean" in state:
            mean, scale = np.float32(state["mean"]), np.float32(state["scale"])
            for start in range(0, len(values), CHUNK):
                part = values[start : start + CHUNK]
                with np.errstate(over="ignore"):
                    part -= mean
                    part /= scale
                np.clip(part, -LIMIT, LIMIT, out=part)
        values[~present] = 0
        return ArrayColumn(values, Spec("vector", (state["features"],)), present_or_none(present))

    def check(self, cells: Cells) -> list[Problem]:
        values, present, problems = self._matrix(cells, None)
        if problems:
            return first_ten(problems)
        name = label(self.columns())
        if not present.any():
            return [Problem("no row has a vector; name another column or drop the modality", name)]
        values = values[present]
        constant = np.flatnonzero(np.ptp(values, axis=0) == 0)
        if not len(constant):
            return []
        indices = ", ".join(map(str, constant[:10])) + (", ..." if len(constant) > 10 else "")
        message = (
            f"{len(constant)} of {values.shape[1]} features are constant and carry no information: {indices}"
        )
        return [Problem(message, name, level="warning")]

    def _matrix(self, cells: Cells, features: int | None) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
        """Return a new (records, features) float32 array, which rows are present, and the problems."""
        columns = [cells.frame[column] for column in self.columns()]
        if len(columns) > 1 or types.is_numeric_dtype(columns[0]):
            values, present, problems = _from_numbers(cells, columns)
        elif (flat := flat_lists(columns[0])) is not None:
            values, present, problems = _from_flat(*flat, features, self.columns()[0], cells.first_row)
        else:
            values, present, problems = self._from_cells(cells, columns[0].tolist(), features)
        if not problems:
            problems = _not_finite(values, label(self.columns()), cells.first_row)
        return values, present, problems

    def _from_cells(
        self, cells: Cells, column: list[Any], features: int | None
    ) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
        """Read any cells: chunks of cells that are alike are stacked, others are read one by one."""
        rows = [row for row, cell in enumerate(column) if not is_blank(cell)]
        present = np.zeros(len(column), dtype=bool)
        present[rows] = True
        if features is None:
            sample = [column[row] for row in rows[:SAMPLE]]
            sizes, _ = map_rows(sample, lambda cell: array_of(cell, cells.root, self.outside).size, "", 0)
            features = _most_frequent(sizes)
        values = np.zeros((len(column), features), dtype=np.float32)
        problems: list[Problem] = []
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            stacked = _stack([column[row] for row in chunk], features)
            if stacked is not None:
                values[chunk] = stacked
                continue
            for row in chunk:
                try:
                    values[row] = self._vector_of(cells, column[row], features)
                except DataError as problem:
                    problems.append(Problem(str(problem), self.columns()[0], cells.first_row + row))
        return values, present, problems

    def _vector_of(self, cells: Cells, cell: Any, features: int) -> np.ndarray:
        array = array_of(cell, cells.root, self.outside)
        if max(array.shape, default=1) != array.size:
            raise DataError(f"holds an array of {shown(array)}; a vector has one axis")
        if array.size != features:
            raise DataError(_wrong_length(array.size, features))
        with np.errstate(over="ignore"):
            return array.reshape(-1).astype(np.float32)


def _most_frequent(lengths: Sequence[int | None]) -> int:
    """Return the most frequent length, 1 if there is none; None stands for a cell that cannot be read."""
    counts = Counter(length for length in lengths if length is not None)
    return counts.most_common(1)[0][0] if counts else 1


def _wrong_length(length: int, features: int) -> str:
    return f"holds a vector of {length} numbers, but {features} are expected; give vectors of equal length"


def _stack(chunk: list[Any], features: int) -> np.ndarray | None:
    """Stack cells that are alike as rows of one array; return None if they are not alike."""
    cell_types = set(map(type, chunk))
    try:
        with np.errstate(over="ignore"):
            if cell_types == {np.ndarray} and {cell.shape for cell in chunk} == {(features,)}:
                if all(dtype.kind in "biuf" for dtype in {cell.dtype for cell in chunk}):
                    return np.concatenate(chunk).reshape(-1, features)
            elif cell_types <= {list, tuple} and set(map(len, chunk)) == {features}:
                stacked = np.array(chunk)
                return stacked if stacked.ndim == 2 and stacked.dtype.kind in "biuf" else None
    except (TypeError, ValueError, OverflowError):  # reported cell by cell
        pass
    return None


def _from_flat(
    flat: np.ndarray, lengths: np.ndarray, features: int | None, column: str, first_row: int
) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
    present = lengths > 0
    if features is None:
        features = _most_frequent(lengths[present][:SAMPLE].tolist())
    wrong = np.flatnonzero(present & (lengths != features)).tolist()
    if wrong:
        problems = [
            Problem(_wrong_length(int(lengths[row]), features), column, first_row + row) for row in wrong
        ]
        return np.zeros((0, features), np.float32), present, problems
    with np.errstate(over="ignore"):
        rows = flat.reshape(-1, features)
        if present.all():
            return rows.astype(np.float32), present, []
        values = np.zeros((len(lengths), features), dtype=np.float32)
        values[present] = rows
    return values, present, []


def _from_numbers(cells: Cells, columns: list[pd.Series]) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
    values = np.empty((len(cells), len(columns)), dtype=np.float32)
    problems: list[Problem] = []
    for index, column in enumerate(columns):
        numbers, wrong = numbers_of(column)
        problems += wrong_numbers(cells, column, numbers, wrong)
        with np.errstate(over="ignore"):
            values[:, index] = numbers
    missing = np.isnan(values)
    present = missing.sum(axis=1) < len(columns)
    if not problems:
        for row, index in np.argwhere(missing & present[:, None]).tolist():
            message = (
                "is empty, but other features of the row are not; fill it, or read the columns as Tabular"
            )
            problems.append(Problem(message, str(columns[index].name), cells.first_row + row))
        values[~present] = 0
    return values, present, problems


def _not_finite(values: np.ndarray, column: str, first_row: int) -> list[Problem]:
    problems = []
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        for row in np.flatnonzero(~np.isfinite(part).all(axis=1)).tolist():
            feature = int(np.flatnonzero(~np.isfinite(part[row]))[0])
            message = (
                f"feature {feature} is {part[row, feature]}; give finite numbers, or leave the cell empty"
            )
            if np.isnan(part[row, feature]):
                message += "; where gaps are usual, read the column as a Series"
            problems.append(Problem(message, column, first_row + start + row))
    return problems


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and deviation of each feature without outliers; a constant feature has scale 1."""
    low, high = usual_range(values)
    parts = [values[start : start + CHUNK] for start in range(0, len(values), CHUNK)]
    count, total, square = (np.zeros(len(low)) for _ in range(3))
    for part in parts:
        outliers = outside(part, low, high)
        count += (~outliers).sum(axis=0)
        total += np.where(outliers, 0, part).sum(axis=0, dtype=np.float64)
    mean = total / count
    for part in parts:
        square += np.where(outside(part, low, high), 0, np.square(part - mean)).sum(axis=0)
    scale = np.sqrt(square / count)
    return mean, np.where(scale > 1e-6 * np.abs(mean), scale, 1.0).clip(1e-30)
