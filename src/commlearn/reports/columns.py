"""What the test records hold by column: how many cells are missing, and how the others are distributed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from commlearn.kinds.arrays import presence
from commlearn.kinds.rows import is_empty
from commlearn.probes import has_label
from commlearn.reports.records import clipped, number
from commlearn.reports.source import Source

MOST, BINS, CLASSES = 24, 16, 8  # most columns that are shown, bars of a number, classes of the others


@dataclass(frozen=True)
class Look:
    """One column."""

    name: str
    of: str  # modality, or "target"
    missing: float  # share of the records without a value
    bars: tuple[tuple[str, int], ...] = ()  # range or class, and number of records
    what: str = ""  # what the bars are about, if not the value itself
    is_number: bool = False
    others: int = 0  # classes that are not shown

    @property
    def highest(self) -> int:
        return max(count for _, count in self.bars)


def looks(source: Source) -> list[Look]:
    """Return a look at each target, then at each column that the modalities read."""
    entries = []
    for name, values in source.data.test.targets.items():
        labelled = has_label(values)
        cells = list(values[labelled]) if values.ndim == 1 else []
        entries.append(
            look(name, "target", float(1 - labelled.mean()), cells, source.sorts.get(name) == "number")
        )
    for modality, spec in source.trained.specs.items():
        columns = [
            column
            for column in source.columns(modality)
            if source.cells is not None and column in source.cells
        ]
        for column in columns:
            cells = source.cells[column].tolist()  # type: ignore[index]
            filled = [cell for cell in cells if not is_empty(cell)]
            displayed = filled if spec.kind in ("text", "tabular") else []
            entries.append(
                look(
                    column,
                    modality,
                    1 - len(filled) / max(len(cells), 1),
                    displayed,
                    None,
                    spec.kind == "text",
                )
            )
        if not columns:
            entries.append(
                Look(modality, modality, float(1 - presence(source.data.test.columns[modality]).mean()))
            )
    return entries


def look(
    name: str, of: str, missing: float, cells: list[Any], as_number: bool | None = None, text: bool = False
) -> Look:
    """Summarise numbers in ranges of equal width, text by its number of words, everything else by class."""
    if not cells:
        return Look(name, of, missing)
    if text:
        values = np.array([len(str(cell).split()) for cell in cells], dtype=float)
        return Look(name, of, missing, _ranges(values), "words", True)
    numbers = (
        pd.to_numeric(pd.Series(cells), errors="coerce").to_numpy(dtype=float)
        if not isinstance(cells[0], tuple)
        else np.array([np.nan])
    )
    is_numeric = np.isfinite(numbers).all() and len(np.unique(numbers)) > CLASSES
    if is_numeric and as_number is not False:
        return Look(name, of, missing, _ranges(numbers), "", True)
    counts = Counter(
        number(label) for cell in cells for label in (cell if isinstance(cell, tuple) else (cell,))
    )
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    bars = tuple((clipped(label, 28), count) for label, count in ranked[:CLASSES])
    return Look(name, of, missing, bars, others=len(ranked) - len(bars))


def _ranges(values: np.ndarray) -> tuple[tuple[str, int], ...]:
    counts, edges = np.histogram(values, min(BINS, len(np.unique(values))))
    return tuple(
        (f"{number(float(low))} to {number(float(high))}", int(count))
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    )
