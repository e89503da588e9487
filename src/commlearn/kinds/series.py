"""Series: measurements in order of time, of any length, with any number of channels and with gaps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds.arrays import array_of, flat_lists, shown
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.numbers import LARGEST
from commlearn.kinds.rows import first_ten, is_empty, label, named_columns, raise_errors
from commlearn.records import Column, Sequences

__all__ = ["Sequences", "Series", "learn_sequences", "standardise"]

LONGEST = 0.9  # quantile of the training lengths that decides how many steps are averaged


@dataclass(frozen=True)
class Series(Kind):
    """One column of series (lists, arrays, paths of .npy or .csv files), or a column for each channel.

    A series is (length,) or (length, channels). Long ones are averaged over a few steps at a time, the
    same few for all rows, so that steps keep their meaning. Where training rows have gaps (NaN), as many
    channels again follow, which tell where each was observed (1) and where not (0).

    Example:
        >>> import pandas as pd
        >>> cells = Cells(pd.DataFrame({"ecg": [[0.1, 0.9, 0.2], [0.3, 0.5], None]}))
        >>> kind = Series("ecg")
        >>> column = kind.read(cells, kind.learn(cells))
        >>> modality = column.take(np.array([0, 1, 2]))
        >>> modality.values.shape, modality.present
        (torch.Size([3, 3, 1]), tensor([ True,  True, False]))
    """

    name: ClassVar[str] = "series"

    fields: Sequence[str] | str  # one column of series, or a column for each channel
    max_length: int = 512  # steps of the longest series after averaging
    outside: bool = False  # paths may leave the table's folder

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", named_columns("Series", self.fields))
        if self.max_length < 1:
            raise ConfigurationError(f"Series max_length is {self.max_length}; give at least 1 step.")

    def columns(self) -> tuple[str, ...]:
        return tuple(self.fields)

    def learn(self, cells: Cells) -> dict[str, Any]:
        """Channels, each one's mean and scale, how many steps are averaged, whether there are gaps."""
        arrays, problems = self._arrays(cells)
        problems += self._ragged(cells, arrays)
        raise_errors(label(self.columns()), problems)
        return learn_sequences(label(self.columns()), arrays, self.max_length)

    def read(self, cells: Cells, state: dict[str, Any]) -> Column:
        """The series, averaged and standardised."""
        arrays, problems = self._arrays(
            cells, lambda array: standardise(_of_width(array, state["channels"]), state, self.max_length)
        )
        raise_errors(label(self.columns()), problems)
        return Sequences.of("series", arrays, state["channels"] * (2 if state["gaps"] else 1))

    def check(self, cells: Cells) -> list[Problem]:
        arrays, problems = self._arrays(cells)
        problems = first_ten(problems + self._ragged(cells, arrays))
        there = [array for array in arrays if array is not None]
        if problems or not there:
            return problems or [Problem("no row has a series; drop the modality", label(self.columns()))]
        messages = []
        channels = there[0].shape[1]
        with np.errstate(invalid="ignore"):
            low = np.fmin.reduce([np.fmin.reduce(array) for array in there])
            high = np.fmax.reduce([np.fmax.reduce(array) for array in there])
        constant = np.flatnonzero(~(low < high)).tolist()
        if constant:
            messages.append(
                f"channels {constant} of {channels} are constant or empty in every row and tell nothing"
            )
        if channels > max(len(array) for array in there):
            messages.append(f"has {channels} channels and fewer steps; transpose to (length, channels)")
        return [Problem(message, label(self.columns()), level="warning") for message in messages]

    def _arrays(
        self, cells: Cells, change: Callable[[np.ndarray], np.ndarray] = lambda array: array
    ) -> tuple[list[np.ndarray | None], list[Problem]]:
        """What `change` makes of each row's (length, channels), None where it has none; what is wrong."""
        columns = [_cells_of(cells.frame[column]) for column in self.columns()]
        arrays: list[np.ndarray | None] = []
        problems: list[Problem] = []
        for row, parts in enumerate(zip(*columns, strict=True)):
            try:
                array = self._join([_steps(part, cells.root, self.outside) for part in parts])
                arrays.append(None if array is None else change(array))
            except DataError as problem:
                problems.append(Problem(str(problem), label(self.columns()), cells.first_row + row))
                arrays.append(None)
        return arrays, problems

    def _join(self, parts: list[np.ndarray | None]) -> np.ndarray | None:
        """Channels side by side; those of a row that are empty are gaps."""
        if len(parts) == 1:
            return parts[0]
        lengths = {len(part) for part in parts if part is not None}
        if not lengths:
            return None
        for column, part in zip(self.columns(), parts, strict=True):
            if part is not None and (part.shape[1] > 1 or len(lengths) > 1):
                counts = ", ".join(shown(part) if part is not None else "none" for part in parts)
                raise DataError(
                    f"the columns hold {counts} steps, {column} among them; give one channel each"
                )
        gap = np.full((lengths.pop(), 1), np.nan, dtype=np.float32)
        return np.concatenate([gap if part is None else part for part in parts], axis=1)

    def _ragged(self, cells: Cells, arrays: list[np.ndarray | None]) -> list[Problem]:
        """Rows whose number of channels is not that of most rows."""
        counts = Counter(array.shape[1] for array in arrays if array is not None)
        if len(counts) < 2:
            return []
        usual = counts.most_common(1)[0][0]
        return [
            Problem(_wrong_width(array, usual), label(self.columns()), cells.first_row + row)
            for row, array in enumerate(arrays)
            if array is not None and array.shape[1] != usual
        ]


def learn_sequences(name: str, arrays: Sequence[np.ndarray | None], max_length: int) -> dict[str, Any]:
    """The statistics of training rows, each (length, channels)."""
    there = [array for array in arrays if array is not None]
    if not there:
        raise DataError(f"{name}: none of the training rows has a series.")
    usual = float(np.quantile([len(array) for array in there], LONGEST))
    stride = max(1, math.ceil(usual / max_length))
    steps = np.concatenate([_average(array, stride, max_length) for array in there])
    given = ~np.isnan(steps)
    count = np.maximum(given.sum(axis=0), 1)
    mean = np.where(given, steps, 0).sum(axis=0, dtype=np.float64) / count
    scale = np.sqrt((np.where(given, steps - mean, 0) ** 2).sum(axis=0) / count)
    return {
        "channels": steps.shape[1],
        "stride": stride,
        "gaps": not given.all(),
        "mean": mean.tolist(),
        "scale": np.where(scale > 1e-12 * np.abs(mean), scale, 1.0).tolist(),
    }


def standardise(array: np.ndarray, state: dict[str, Any], max_length: int) -> np.ndarray:
    """One series, averaged, to mean 0 and deviation 1 of the training rows; 0 in gaps."""
    steps = _average(array, state["stride"], max_length)
    given = ~np.isnan(steps)
    values = np.where(given, (steps - np.array(state["mean"])) / np.array(state["scale"]), 0)
    return np.concatenate([values, given] if state["gaps"] else [values], axis=1, dtype=np.float32)


def _average(array: np.ndarray, stride: int, max_length: int) -> np.ndarray:
    """Means over `stride` steps at a time, or a multiple of it where that is still too long."""
    stride *= math.ceil(math.ceil(len(array) / stride) / max_length)
    if stride == 1:
        return array
    starts = np.arange(0, len(array), stride)
    given = ~np.isnan(array)
    total = np.add.reduceat(np.where(given, array, 0), starts, axis=0, dtype=np.float64)
    count = np.add.reduceat(given, starts, axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _steps(cell: Any, root: Path, outside: bool) -> np.ndarray | None:
    """One cell as (length, channels), None if it is empty."""
    if is_empty(cell):
        return None
    array = array_of(cell, root, outside)
    if array.size == 0:
        raise DataError(f"{shown(cell)} has no steps; give at least one, or leave the cell empty")
    if array.ndim > 2:
        raise DataError(f"holds an array of {shown(array)}; give (length,) or (length, channels)")
    if (np.abs(array) > min(LARGEST, float(np.finfo(array.dtype).max))).any():
        raise DataError(
            "holds an infinite or too large number; mend it, or make it NaN if it was not observed"
        )
    if np.isnan(array).all():
        return None
    return array if array.ndim == 2 else array[:, None]


def _cells_of(column: pd.Series) -> list[Any]:
    flat = flat_lists(column)
    if flat is None:
        return column.tolist()
    values, lengths = flat
    ends = np.maximum(lengths, 0).cumsum()
    return [
        None if length < 0 else values[end - length : end]
        for length, end in zip(lengths.tolist(), ends.tolist(), strict=True)
    ]


def _of_width(array: np.ndarray, channels: int) -> np.ndarray:
    if array.shape[1] != channels:
        raise DataError(_wrong_width(array, channels))
    return array


def _wrong_width(array: np.ndarray, channels: int) -> str:
    return f"has {array.shape[1]} channels, where {channels} are expected; give (length, {channels})"
