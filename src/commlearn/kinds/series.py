"""Series: measurements over time, of any length, with any number of channels and with gaps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from commlearn.errors import DataError
from commlearn.kinds.arrays import (
    Clock,
    Steps,
    array_of,
    cells_of,
    clock_of,
    is_blank,
    shown,
    side_by_side,
    steps_of,
)
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.numbers import LARGEST, outside, usual_range
from commlearn.kinds.rows import LISTED, first_ten, label, map_rows, named_columns, raise_errors, store_whole
from commlearn.records import Column, Sequences

MOST_STEPS = 512  # default for the most steps of a series after averaging
STEP_LIMIT = 20.0  # deviations to which steps are clipped; a few steps beyond them are outliers
LONGEST = 0.9  # quantile of the training lengths that decides how many steps are averaged


@dataclass(frozen=True)
class Series(Kind):
    """One column of series (lists, arrays, paths of .npy or .csv files), or a column for each channel.

    A series is (length,) or (length, channels). Long ones are averaged over groups of a few steps, of the
    same size for all rows, so that steps keep their meaning. If training rows have gaps (NaN), the channels
    are followed by as many again that mark where each was observed (1) and where not (0).

    Cells such as `[{"t": 0, "hr": 71}, {"t": 2.5, "hr": 80}]` are sorted by time and resampled to even steps
    of the median gap in training rows, or longer ones so that nine rows in ten fit into `max_length`. Even
    steps without a value are gaps. Every key other than the time is a channel.

    A few steps far from all others, such as -9999 in place of a gap, are left out of mean and scale, and all
    steps are clipped to 20 deviations.

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
    max_length: int = MOST_STEPS  # steps of the longest series after averaging
    outside: bool = False  # paths may leave the table's folder

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", named_columns("Series", self.fields))
        store_whole(self, "max_length", "Series max_length", 1, "at least 1 step")

    def learn(self, cells: Cells) -> dict[str, Any]:
        """Return channels, their means and scales, how many steps to average, and whether gaps occur."""
        rows, problems = self._rows(cells)
        clock = _clock(rows, self.max_length)
        arrays, array_problems = self._arrays(cells, rows, clock)
        problems += array_problems + self._ragged_rows(cells, arrays)
        raise_errors(label(self.columns()), problems)
        learned = learn_sequences(label(self.columns()), arrays, self.max_length)
        return learned if clock is None else {**learned, "clock": asdict(clock)}

    def notes(self, state: Mapping[str, Any]) -> Sequence[str]:
        note = Clock(**state["clock"]).note() if "clock" in state else ""
        return [note] if note else []

    def read(self, cells: Cells, state: dict[str, Any]) -> Column:
        """Return the series, averaged and standardised."""
        rows, problems = self._rows(cells)
        clock = Clock(**state["clock"]) if "clock" in state else None
        change = partial(standardise, state=state, max_length=self.max_length)
        arrays, array_problems = self._arrays(cells, rows, clock, change)
        raise_errors(label(self.columns()), problems + array_problems)
        return Sequences.of("series", arrays, state["channels"] * (2 if state["gaps"] else 1))

    def check(self, cells: Cells) -> list[Problem]:
        rows, problems = self._rows(cells)
        clock = _clock(rows, self.max_length)
        arrays, array_problems = self._arrays(cells, rows, clock)
        problems = first_ten(problems + array_problems + self._ragged_rows(cells, arrays))
        present = [array for array in arrays if array is not None]
        if problems or not present:
            return problems or [Problem("no row has a series; drop the modality", label(self.columns()))]
        messages = [clock.note()] if clock is not None and clock.note() else []
        repeated = [
            row for row, steps in enumerate(rows) if isinstance(steps, Steps) and steps.has_repeated_times()
        ]
        if repeated:
            row_numbers = ", ".join(str(cells.first_row + row) for row in repeated[:LISTED])
            messages.append(
                f"several steps have the same time (rows {row_numbers}"
                f"{', ...' if len(repeated) > LISTED else ''}): their mean is used"
            )
        values, channels = np.concatenate(present), present[0].shape[1]
        with np.errstate(invalid="ignore"):
            constant = np.flatnonzero(~(np.fmin.reduce(values) < np.fmax.reduce(values))).tolist()
        if constant:
            messages.append(
                f"channels {constant} of {channels} are constant or empty in every row and carry no "
                "information"
            )
        if channels > max(len(array) for array in present):
            messages.append(f"has {channels} channels and fewer steps; transpose to (length, channels)")
        warnings = [Problem(message, label(self.columns()), level="warning") for message in messages]
        return first_ten(self._outliers(cells, arrays, usual_range(values, STEP_LIMIT))) + warnings

    def _rows(self, cells: Cells) -> tuple[list[np.ndarray | Steps | None], list[Problem]]:
        """Return each row as (length, channels) or named steps (None if it has neither), and the problems."""
        columns = [cells_of(cells.frame[column]) for column in self.columns()]
        return map_rows(
            zip(*columns, strict=True),
            lambda parts: self._join([_steps(part, cells.root, self.outside) for part in parts]),
            label(self.columns()),
            cells.first_row,
        )

    def _arrays(
        self,
        cells: Cells,
        rows: Sequence[np.ndarray | Steps | None],
        clock: Clock | None,
        change: Callable[[np.ndarray], np.ndarray] = lambda array: array,
    ) -> tuple[list[np.ndarray | None], list[Problem]]:
        """Apply `change` to each row's (length, channels) at even times; return results and problems."""
        return map_rows(
            rows,
            lambda row: None if row is None else change(_resample(row, clock, self.max_length)),
            label(self.columns()),
            cells.first_row,
        )

    def _join(self, parts: list[np.ndarray | Steps | None]) -> np.ndarray | Steps | None:
        """Join a row's channels side by side; empty ones become gaps."""
        if len(parts) == 1:
            return parts[0]
        pairs = zip(self.columns(), parts, strict=True)
        steps = {column: part for column, part in pairs if isinstance(part, Steps)}
        arrays = [part for part in parts if isinstance(part, np.ndarray)]
        if steps and not arrays:
            return side_by_side(steps)
        if steps:
            raise DataError(f"has times only in {', '.join(steps)}; give all columns times, or none")
        lengths = {len(part) for part in arrays}
        if not lengths:
            return None
        for column, part in zip(self.columns(), parts, strict=True):
            if isinstance(part, np.ndarray) and (part.shape[1] > 1 or len(lengths) > 1):
                counts = ", ".join(shown(part) if part is not None else "none" for part in parts)
                raise DataError(
                    f"the columns, including {column}, hold arrays of {counts}; give each one channel of "
                    "equal length"
                )
        gap = np.full((lengths.pop(), 1), np.nan, dtype=np.float32)
        channels = [part if isinstance(part, np.ndarray) else gap for part in parts]
        return np.concatenate(channels, axis=1)

    def _outliers(
        self, cells: Cells, arrays: list[np.ndarray | None], usual: tuple[np.ndarray, np.ndarray]
    ) -> list[Problem]:
        """Return a warning for each row with a step far from all others, outside the usual range."""
        low, high = usual
        problems = []
        for row, array in enumerate(arrays):
            if array is not None and (beyond := outside(array, low, high)).any():
                message = (
                    f"has the value {array[beyond][0]:g}, far from all others, which is clipped; correct "
                    "it, or set it to NaN if it was not observed"
                )
                problems.append(Problem(message, label(self.columns()), cells.first_row + row, "warning"))
        return problems

    def _ragged_rows(self, cells: Cells, arrays: list[np.ndarray | None]) -> list[Problem]:
        """Return a problem for each row whose number of channels differs from that of most rows."""
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
    """Return the statistics of training rows, each (length, channels), leaving out outliers."""
    present = [array for array in arrays if array is not None]
    if not present:
        raise DataError(f"{name}: none of the training rows has a series.")
    length = float(np.quantile([len(array) for array in present], LONGEST))
    stride = max(1, math.ceil(length / max_length))
    steps = np.concatenate([_average(array, stride, max_length) for array in present])
    observed = ~np.isnan(steps)
    inliers = observed & ~outside(steps, *usual_range(steps, STEP_LIMIT))
    count = np.maximum(inliers.sum(axis=0), 1)
    mean = np.where(inliers, steps, 0).sum(axis=0, dtype=np.float64) / count
    scale = np.sqrt((np.where(inliers, steps - mean, 0) ** 2).sum(axis=0) / count)
    return {
        "channels": steps.shape[1],
        "stride": stride,
        "gaps": not observed.all(),
        "mean": mean.tolist(),
        "scale": np.where(scale > 1e-12 * np.abs(mean), scale, 1.0).tolist(),
    }


def standardise(array: np.ndarray, state: dict[str, Any], max_length: int) -> np.ndarray:
    """Average one series and scale it to the training rows' mean 0 and deviation 1, clipped; gaps are 0."""
    if array.shape[1] != state["channels"]:
        raise DataError(_wrong_width(array, state["channels"]))
    steps = _average(array, state["stride"], max_length)
    observed = ~np.isnan(steps)
    scaled = (steps - np.array(state["mean"])) / np.array(state["scale"])
    values = np.where(observed, scaled.clip(-STEP_LIMIT, STEP_LIMIT), 0)
    return np.concatenate([values, observed] if state["gaps"] else [values], axis=1, dtype=np.float32)


def _average(array: np.ndarray, stride: int, max_length: int) -> np.ndarray:
    """Average every `stride` steps, or a multiple of `stride` if the series would still be too long."""
    stride *= math.ceil(math.ceil(len(array) / stride) / max_length)
    if stride == 1:
        return array
    starts = np.arange(0, len(array), stride)
    observed = ~np.isnan(array)
    total = np.add.reduceat(np.where(observed, array, 0), starts, axis=0, dtype=np.float64)
    count = np.add.reduceat(observed, starts, axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _clock(rows: Sequence[np.ndarray | Steps | None], longest: int) -> Clock | None:
    """Return the clock learned from rows with named steps; None unless most rows have them."""
    steps = [row for row in rows if isinstance(row, Steps)]
    return clock_of(steps, longest) if 2 * len(steps) > sum(row is not None for row in rows) else None


def _resample(row: np.ndarray | Steps, clock: Clock | None, longest: int) -> np.ndarray:
    """Return the values of a row at even times."""
    if isinstance(row, Steps):
        return row.values if clock is None else clock.at_even_steps(row, longest)
    if clock is not None and len(clock.names) > 1:
        raise DataError(f"holds numbers without names, where other rows have {', '.join(clock.names)}")
    return row


def _steps(cell: Any, root: Path, outside: bool) -> np.ndarray | Steps | None:
    """Return one cell as (length, channels) or as named steps, None if it is empty."""
    if is_blank(cell):
        return None
    steps = steps_of(cell)
    array = array_of(cell, root, outside) if steps is None else steps.values
    if array.size == 0:
        raise DataError(f"{shown(cell)} has no steps; give at least one, or leave the cell empty")
    if array.ndim > 2:
        raise DataError(f"holds an array of {shown(array)}; give (length,) or (length, channels)")
    if (np.abs(array) > min(LARGEST, float(np.finfo(array.dtype).max))).any():
        raise DataError(
            "holds an infinite or too large number; correct it, or set it to NaN if it was not observed"
        )
    if np.isnan(array).all():
        return None
    if steps is not None:
        return steps
    return array if array.ndim == 2 else array[:, None]


def _wrong_width(array: np.ndarray, channels: int) -> str:
    return f"has {array.shape[1]} channels, but {channels} are expected; give (length, {channels})"
