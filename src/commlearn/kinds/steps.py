"""Steps with times, `[{"t": 0, "v": 1.5}, ...]`: sorted by time, and resampled to even steps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd

from commlearn.errors import DataError
from commlearn.kinds.rows import brief, is_empty
from commlearn.kinds.written import moment_of
from commlearn.storage.plain_json import parse_json

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
    timed = [row for row in rows if row.times is not None]
    gaps = np.concatenate([np.diff(row.times) for row in timed if row.times is not None] or [np.zeros(0)])
    gaps = gaps[gaps > 0]
    if not timed:
        return Clock(names)
    spans = [float(row.times[-1] - row.times[0]) for row in timed if row.times is not None]
    step = (
        max(
            float(np.quantile(gaps, 0.5, method="lower")),
            float(np.quantile(spans, 0.9, method="lower")) / longest,
        )
        if len(gaps)
        else 1.0
    )
    extremes = (float(gaps.min()), float(gaps.max())) if len(gaps) else (0.0, 0.0)
    return Clock(names, step, sum(row.dated for row in timed) > len(timed) / 2, *extremes)


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
    time_key = next((key for word in TIMES for key in keys if str(key).lower() == word), None)
    names = tuple(str(name) for name in keys if name != time_key)
    values = np.array([[_number(step.get(name), name) for name in keys if name != time_key] for step in cell])
    values = values.reshape(len(cell), len(names))
    if time_key is None:
        return Steps(names, values)
    times = [_time(step.get(time_key), time_key, index) for index, step in enumerate(cell)]
    if len({dated for _, dated in times}) > 1:
        raise DataError(f"has both numbers and dates as times '{time_key}'; give only one kind")
    instants = np.array([instant for instant, _ in times])
    order = np.argsort(instants, kind="stable")
    return Steps(names, values[order], instants[order], times[0][1])


def side_by_side(parts: Mapping[str, Steps]) -> Steps:
    """Join steps of several columns as channels of one series; `Clock.even` merges those at the same time."""
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
