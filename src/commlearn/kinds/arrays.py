"""Cells that hold arrays: numbers in lists, arrays or files, steps with times, and columns of them in memory.

Steps such as `[{"t": 0, "v": 1.5}, ...]` are sorted by time, and resampled to even steps.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from commlearn.batch import Modality, Spec
from commlearn.errors import DAMAGED, DataError
from commlearn.kinds.rows import brief, is_empty
from commlearn.kinds.written import moment_of
from commlearn.storage.plain_files import read_npy
from commlearn.storage.plain_json import parse_json


@dataclass(frozen=True)
class ArrayColumn:
    """Rows of one length in memory, some of them absent."""

    values: np.ndarray  # (records, cells) float32
    spec: Spec
    present: np.ndarray | None = None  # (records,): False if a record lacks the modality

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Modality:
        present = None if self.present is None else torch.from_numpy(self.present[rows])
        return Modality(torch.from_numpy(self.values[rows]), present=present)


def present_or_none(present: np.ndarray) -> np.ndarray | None:
    """Return which records are present, or None if all are."""
    return None if present.all() else present


def is_blank(cell: Any) -> bool:
    """Return whether a cell is empty, or a list or an array without numbers: the record has nothing here.

    Example:
        >>> is_blank([]), is_blank("[]"), is_blank(np.zeros((0, 3))), is_blank([0.0])
        (True, True, True, False)
    """
    if isinstance(cell, list | tuple):
        return not cell
    if isinstance(cell, np.ndarray | torch.Tensor):
        return 0 in cell.shape
    return is_empty(cell) or (isinstance(cell, str) and cell.strip() == "[]")


def array_of(cell: Any, root: Path, outside: bool = False) -> np.ndarray:
    """Return a list, an array or a file as an array of floats of at least 32 bits; None becomes NaN."""
    array = numbers_in(cell, root, outside)
    narrow = array.dtype.itemsize < 4 or array.dtype == np.float32
    return array.astype(np.float32 if narrow else np.float64, copy=False)


def numbers_in(cell: Any, root: Path, outside: bool = False) -> np.ndarray:
    """Return a list, an array or a file as an array that keeps the numbers' type; None makes them floats.

    Args:
        cell: numbers, nested as deep as the array has axes; objects such as {"t": 0, "v": 1.5}, one for each
            step; or the path of a .npy or .csv file.
        root: the folder to which a path is relative.
        outside: whether the path may leave that folder.
    """
    if isinstance(cell, str) and cell.lstrip().startswith("["):  # tables of text store lists this way
        try:
            cell = parse_json(cell)
        except ValueError as problem:
            raise DataError(f"{shown(cell)} is not a JSON list of numbers ({problem})") from problem
    if isinstance(cell, str | Path):
        cell = _load(file_of(cell, root, outside), shown(cell))
    if isinstance(cell, torch.Tensor):
        cell = cell.detach().cpu()
        cell = (cell.float() if cell.dtype == torch.bfloat16 else cell).numpy()  # numpy has no bfloat16
    if (steps := steps_of(cell)) is not None:
        cell = steps.values
    try:
        array = np.asarray(cell)
        if array.dtype == object:  # None among numbers, or arrays inside arrays
            rows = [np.asarray(row, dtype=np.float64) for row in array]
            array = np.stack(rows) if rows else np.empty(0)
    except (TypeError, ValueError, OverflowError) as problem:  # whole numbers may be too large
        wrong = f"is not an array of numbers ({problem}); give only numbers"
        if lengths := _lengths(cell):
            wrong = f"has rows of {lengths} numbers; give rows of equal length"
        is_array = isinstance(cell, np.ndarray) and cell.ndim > 0
        raise DataError(f"{shown(list(cell) if is_array else cell)} {wrong}") from problem
    if array.dtype.kind not in "biuf":
        raise DataError(f"{shown(cell)} is not an array of numbers; give a list, an array or a file path")
    if array.ndim == 0:
        raise DataError(f"{shown(cell)} is a single number; give a list or an array")
    return array


def _lengths(cell: Any) -> str:
    """Return the different lengths of a list's rows, as text; "" if these are not the problem."""
    is_list = isinstance(cell, list | tuple) or (isinstance(cell, np.ndarray) and cell.ndim > 0)
    sizes = {
        len(row)
        for row in (cell if is_list else ())
        if isinstance(row, list | tuple) or (isinstance(row, np.ndarray) and row.ndim)
    }
    return " and ".join(map(str, sorted(sizes))) if len(sizes) > 1 else ""


def file_of(cell: str | Path, root: Path, outside: bool = False) -> Path:
    """Return the path of a file; one outside the table's folder is refused unless `outside` allows it."""
    if "://" in str(cell):
        raise DataError(f"{shown(cell)} is a URL, which is not downloaded. Download it and give its path")
    folder = os.path.abspath(root)
    path = os.path.normpath(os.path.join(folder, str(cell)))
    inside = path.startswith(os.path.join(folder, "")) and "\0" not in path
    if inside and not outside:  # a link inside the folder may lead out of it
        inside = os.path.realpath(path).startswith(os.path.join(_real_path(folder), ""))
    if not outside and not inside:
        message = f"{shown(cell)} is outside the table's folder. Move the file into it, or set outside: true"
        raise DataError(
            f"{message} for this modality (for a loaded export: commlearn.load(folder, outside=True))"
        )
    if "\0" in path or not os.path.isfile(path):
        slashes = " (with / in place of \\)" if "\\" in str(cell) else ""
        where = "" if os.path.isabs(cell) else f" in {'the working folder' if root == Path() else root}"
        raise DataError(
            f"{shown(cell)}: there is no such file{where}. Correct the path{slashes}, or leave the cell empty"
        )
    return Path(path)


@lru_cache(maxsize=64)
def _real_path(folder: str) -> str:
    return os.path.realpath(folder)


def flat_lists(column: pd.Series) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the numbers of a column of Arrow lists end to end (read-only), and each length (-1: none).

    Returns None for other columns.
    """
    if not isinstance(column.dtype, pd.ArrowDtype):
        return None
    dtype = column.dtype.pyarrow_dtype
    if not (pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)):
        return None
    if not (pa.types.is_integer(dtype.value_type) or pa.types.is_floating(dtype.value_type)):
        return None
    lists = column.array.__arrow_array__()
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in lists.chunks]
    none = np.empty(0, dtype.value_type.to_pandas_dtype())  # if there are no chunks
    flat = parts[0] if len(parts) == 1 else np.concatenate([*parts, none])
    lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
    return flat, lengths.astype(np.int64)


def cells_of(column: pd.Series) -> list[Any]:
    """Return the cells of a column; Arrow lists of numbers become arrays of the same type."""
    flat = flat_lists(column)
    if flat is None:
        return column.tolist()
    values, lengths = flat
    ends = np.maximum(lengths, 0).cumsum()
    return [
        None if length < 0 else values[end - length : end]
        for length, end in zip(lengths.tolist(), ends.tolist(), strict=True)
    ]


def shown(cell: Any) -> str:
    """Return a cell as a message shows it: shortened, or the shape of an array."""
    if isinstance(cell, np.ndarray):
        return " x ".join(map(str, cell.shape)) or "one number"
    text = brief(cell, str, most=None)
    return repr(text if len(text) <= 80 else f"{text[:38]}...{text[-39:]}")


def _load(path: Path, name: str) -> np.ndarray:
    """Return the array in a .npy file, or the columns of a .csv file with or without a line of names."""
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".csv"):
        raise DataError(f"{name} is not an array; give numbers, or the path of a .npy or .csv file")
    try:
        if suffix == ".npy":
            return read_npy(path)
        frame = pd.read_csv(path, header=None, skipinitialspace=True, low_memory=False)
        if frame.iloc[0].map(_is_name).any() or _is_numbered(frame, path):
            frame = frame.iloc[1:]  # names of columns
        return frame.apply(pd.to_numeric).to_numpy(dtype=np.float64)
    except (*DAMAGED, OSError, MemoryError) as problem:
        raise DataError(
            f"{name} cannot be read ({problem}). Is it cut off? Replace it, or empty the cell"
        ) from problem


def _is_name(cell: Any) -> bool:
    return isinstance(cell, str) and math.isnan(pd.to_numeric(cell, errors="coerce"))


def _is_numbered(frame: pd.DataFrame, path: Path) -> bool:
    """Return whether a file begins with the names 0, 1, 2, ..., as pandas writes them by default.

    Fewer than three may as well be numbers, unless an index without a name counts the rows before them.
    """
    rows = frame.iloc[1:]
    is_indexed = pd.isna(frame.iloc[0, 0]) and frame[0][1:].tolist() == list(range(len(rows)))
    names = frame.iloc[0, 1:] if is_indexed else frame.iloc[0]
    if not len(rows) or len(names) < (1 if is_indexed else 3) or names.tolist() != list(range(len(names))):
        return False
    texts = pd.read_csv(path, header=None, nrows=1, dtype="str", skipinitialspace=True).iloc[0]
    return texts[-len(names) :].tolist() == list(map(str, range(len(names))))  # 0.0 is no name


TIMES = ("t", "time", "timestamp", "ts", "date", "datetime", "when", "zeit")  # keys that hold a step's time
TEXT = re.compile(r"\s*\[\s*\{")
EVEN = 0.01  # fraction of the step by which gaps may differ and still count as even
UNITS = (("days", 86_400), ("h", 3_600), ("min", 60))  # units of time, in seconds
FARTHEST = 1e15  # limit on the even steps of one row


@dataclass(frozen=True)
class Steps:
    """The steps of one cell in order of their times."""

    names: tuple[str, ...]  # names of the channels
    values: np.ndarray  # (steps, channels) float64, NaN if a step has no value
    times: np.ndarray | None = None  # (steps,): numbers, or seconds of dates
    dated: bool = False

    def has_repeated_times(self) -> bool:
        """Return whether a channel has several values at the same time."""
        if self.times is None:
            return False
        moments, index = np.unique(self.times, return_inverse=True)
        values = np.zeros((len(moments), len(self.names)), dtype=np.int64)
        np.add.at(values, index, ~np.isnan(self.values))
        return bool((values > 1).any())

    def channels_named(self, names: Sequence[str]) -> np.ndarray:
        """Return the channels of these names, (steps, names); NaN for a name without a channel."""
        values = np.full((len(self.values), len(names)), np.nan)
        for channel, name in enumerate(self.names):
            if name in names:
                values[:, names.index(name)] = self.values[:, channel]
        return values


@dataclass(frozen=True)
class Clock:
    """The channels of training rows, and the even steps learned from their times."""

    names: list[str]
    step: float = 0.0  # 0 if steps have no times
    dated: bool = False
    shortest: float = 0.0  # shortest gap between two steps
    longest: float = 0.0

    def at_even_steps(self, steps: Steps, longest: int) -> np.ndarray:
        """Return values at even steps, (steps, channels): the mean of the nearest values, NaN if none.

        Args:
            steps: steps of one row.
            longest: usual limit on even steps; rows of more than 8 times as many get coarser ones.
        """
        if unknown := [name for name in steps.names if name not in self.names]:
            names = ", ".join(self.names)
            raise DataError(f"has channels {', '.join(unknown)} that no training row has (they have {names})")
        values = steps.channels_named(self.names)
        if steps.times is None or not self.step:
            if (steps.times is None) != (not self.step):
                raise DataError(f"has {'no' if self.step else 'a'} time in its steps, unlike training rows")
            return values
        if steps.dated != self.dated:
            raise DataError(f"has {'dates' if steps.dated else 'numbers'} as times, unlike training rows")
        positions = np.round((steps.times - steps.times[0]) / self.step)
        if not positions[-1] < FARTHEST:
            raise DataError(
                f"spans {positions[-1]:.3g} times the usual gap between two steps; correct its times"
            )
        positions = (positions // max(1, math.ceil((positions[-1] + 1) / (8 * longest)))).astype(np.int64)
        observed, shape = ~np.isnan(values), (positions[-1] + 1, values.shape[1])
        total, count = np.zeros(shape), np.zeros(shape)
        np.add.at(total, positions, np.where(observed, values, 0))
        np.add.at(count, positions, observed)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def note(self) -> str:
        """Return a line for the log about uneven times; empty if times are even."""
        if self.longest - self.shortest <= EVEN * self.step:
            return ""
        gaps = f"{self._format(self.shortest)} to {self._format(self.longest)}"
        return f"times are uneven ({gaps} apart): values are read every {self._format(self.step)}, with gaps"

    def _format(self, gap: float) -> str:
        if not self.dated:
            return f"{gap:.3g}"
        unit, size = next((entry for entry in UNITS if gap >= entry[1]), ("s", 1))
        return f"{gap / size:.3g} {unit}"


def clock_of(rows: Sequence[Steps], longest: int) -> Clock:
    """Return the channels of all rows, with even steps of the median gap, or longer ones for long rows.

    Args:
        rows: training rows.
        longest: most even steps that nine rows in ten may have.

    Example:
        >>> rows = [steps_of([{"t": 0, "v": 1}, {"t": 1, "v": 2}, {"t": 5, "v": 3}, {"t": 6, "v": 4}])]
        >>> clock_of(rows, 99).at_even_steps(rows[0], 99).ravel()
        array([ 1.,  2., nan, nan, nan,  3.,  4.])
    """
    names = sorted({name for row in rows for name in row.names})
    times = [row.times for row in rows if row.times is not None]
    if not times:
        return Clock(names)
    dated = sum(row.dated for row in rows) > len(times) / 2
    gaps = np.concatenate([np.diff(moments) for moments in times])
    gaps = gaps[gaps > 0]
    if not len(gaps):
        return Clock(names, 1.0, dated)
    spans = [float(moments[-1] - moments[0]) for moments in times]
    usual, long = np.quantile(gaps, 0.5, method="lower"), np.quantile(spans, 0.9, method="lower")
    return Clock(names, max(float(usual), float(long) / longest), dated, float(gaps.min()), float(gaps.max()))


def steps_of(cell: Any) -> Steps | None:
    """Parse a list of objects such as {"t": 0, "v": 1.5}, or its JSON text; return None for anything else.

    Example:
        >>> steps_of([{"t": 2, "v": 0.5}, {"t": 1, "v": 1.5}]).values.tolist()
        [[1.5], [0.5]]
    """
    if isinstance(cell, str) and TEXT.match(cell):  # tables of text store it this way
        try:
            cell = parse_json(cell)
        except ValueError:
            return None
    is_list = isinstance(cell, list) or (isinstance(cell, np.ndarray) and cell.ndim == 1)
    if not is_list or not len(cell) or not isinstance(cell[0], Mapping):
        return None
    if not all(isinstance(step, Mapping) for step in cell):
        raise DataError(
            f"{brief(cell, str)!r} mixes objects with other values; give objects such as {{t: 0, v: 1.5}}"
        )
    keys = sorted({name for step in cell for name in step}, key=str)
    time_key = _time_key(keys)
    names = tuple(str(name) for name in keys if name != time_key)
    numbers = [[_number(step.get(name), name) for name in keys if name != time_key] for step in cell]
    values = np.array(numbers).reshape(len(cell), len(names))
    if time_key is None:
        return Steps(names, values)
    times = [_time(step.get(time_key), time_key, index) for index, step in enumerate(cell)]
    if len({dated for _, dated in times}) > 1:
        raise DataError(f"has both numbers and dates as times '{time_key}'; give only one kind")
    instants = np.array([instant for instant, _ in times])
    order = np.argsort(instants, kind="stable")
    return Steps(names, values[order], instants[order], times[0][1])


def _time_key(keys: Sequence[Any]) -> Any:
    """Return the key that holds a step's time; `T`, often a temperature, only if there is no other."""
    words = {str(key).lower(): key for key in reversed(keys) if key != "T"}
    return next((words[word] for word in TIMES if word in words), "T" if "T" in keys else None)


def side_by_side(parts: Mapping[str, Steps]) -> Steps:
    """Join steps of several columns as channels of one series, in order of their times; none are merged."""
    named = [
        replace(part, names=tuple(f"{column}.{name}" for name in part.names))
        for column, part in parts.items()
    ]
    if any(part.times is None for part in named) or len({part.dated for part in named}) > 1:
        raise DataError(
            f"the columns {', '.join(parts)} mix dates and numbers as times, or lack times; give all columns "
            "the same kind"
        )
    names = [name for part in named for name in part.names]
    times = np.concatenate([part.times for part in named if part.times is not None])
    values = np.concatenate([part.channels_named(names) for part in named])
    order = np.argsort(times, kind="stable")
    return Steps(tuple(names), values[order], times[order], named[0].dated)


def _number(cell: Any, name: Any) -> float:
    if is_empty(cell):
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError) as problem:
        raise DataError(
            f"a step has {name} {brief(cell)}, which is not a number; correct it or leave it out"
        ) from problem


def _time(cell: Any, name: Any, index: int) -> tuple[float, bool]:
    """Return a time as a number or as the seconds of a date, and whether it was a date."""
    cell = pd.Timestamp(cell) if isinstance(cell, np.datetime64) else cell
    if is_empty(cell):
        raise DataError(f"step {index} has no time '{name}'; give every step one")
    if isinstance(cell, str):
        try:
            cell = float(cell)
        except ValueError:
            try:
                cell = datetime.fromisoformat(cell.strip())
            except ValueError:
                cell = moment_of(cell) or cell
    if isinstance(cell, int | float | np.number) and not isinstance(cell, bool) and math.isfinite(cell):
        return float(cell), False
    if isinstance(cell, date):
        moment = cell if isinstance(cell, datetime) else datetime(cell.year, cell.month, cell.day)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), True
    raise DataError(
        f"step {index} has the time '{name}' {brief(cell)}, which is neither a number nor a date that can be "
        "read (such as 2024-01-31T12:30)"
    )
