"""Line charts over the steps of the training, with a name at the end of each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from commlearn.plot.style import spread_out
from commlearn.reports.pieces import limits, line_path
from commlearn.reports.records import number

CALLED = {  # titles of what the training measures
    "terms": "Loss terms",
    "accuracy": "Share retrieved in the batch",
    "gradient_norm": "Gradient norm",
    "diagnostics.rank": "Effective rank",
    "diagnostics.spread": "Alignment and uniformity",
    "diagnostics.sensitivity": "How far the embedding moves if one modality is replaced by another record's",
    "diagnostics.neighbours": "Share of nearest neighbours of the same class",
}
SIDES = {"step", "epoch", "learning_rate", "warnings"}
WIDE, HIGH, LINE = 300, 120, 15  # size of a chart, height of a name


@dataclass(frozen=True)
class Curve:
    """One line."""

    name: str
    path: str
    last: str
    height: float  # vertical position of its name, in units of the chart


@dataclass(frozen=True)
class Curves:
    """One chart."""

    title: str
    low: str
    high: str
    steps: tuple[int, int]
    tall: int
    lines: tuple[Curve, ...]


def curves(metrics: Sequence[Mapping[str, Any]]) -> list[Curves]:
    """Return a chart for each figure that was measured at two or more steps."""
    return [chart for key in measured(metrics) if (chart := _chart(metrics, key)) is not None]


def measured(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the figures that the training wrote, those that have a title in `CALLED` first."""
    keys = dict.fromkeys(key for entry in metrics for key in entry if key not in SIDES)
    order = sorted(keys, key=lambda key: list(CALLED).index(key) if key in CALLED else len(CALLED))
    return [key for key in order if any(_is_figure(entry.get(key)) for entry in metrics)]


def titled(key: str) -> str:
    return CALLED.get(key, f"{key[0].upper()}{key[1:]}".replace("_", " "))


def _is_figure(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(_is_figure(part) for part in value.values())
    return isinstance(value, int | float) and not isinstance(value, bool)


def _chart(metrics: Sequence[Mapping[str, Any]], key: str) -> Curves | None:
    entries = [entry for entry in metrics if _is_figure(entry.get(key))]
    if len(entries) < 2:
        return None
    rows = [entry[key] if isinstance(entry[key], Mapping) else {"": entry[key]} for entry in entries]
    values = {
        name: np.array([row.get(name, np.nan) for row in rows], dtype=float)
        for name in dict.fromkeys(name for row in rows for name in row)
    }
    low, high = limits(list(values.values()))
    tall = max(HIGH, LINE * len(values))
    ends = {
        name: line[np.isfinite(line)][-1] if np.isfinite(line).any() else low for name, line in values.items()
    }
    heights = [1 + (tall - 2) * (1 - (end - low) / ((high - low) or 1)) for end in ends.values()]
    name_heights = dict(zip(ends, spread_out(heights, LINE, LINE / 2, tall - LINE / 2), strict=True))
    lines = tuple(
        Curve(name, line_path(line, low, high, WIDE, tall), number(float(ends[name])), name_heights[name])
        for name, line in values.items()
    )
    steps = (int(entries[0]["step"]), int(entries[-1]["step"]))
    return Curves(titled(key), number(low), number(high), steps, tall, lines)
