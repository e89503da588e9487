"""The report: everything that was found about one target, to read, to plot and to hand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from commlearn.evaluation.interactions.estimate import atoms_of_two
from commlearn.evaluation.interactions.nulls import Combination
from commlearn.evaluation.interactions.settings import Settings
from commlearn.evaluation.interactions.target import Target
from commlearn.evaluation.interactions.uncertainty import Known
from commlearn.evaluation.interactions.views import Pair, View, subset_name

__all__ = ["Diagnostics", "InteractionReport"]


@dataclass(frozen=True)
class Diagnostics:
    """Whether the numbers can be believed.

    Attributes:
        gap: the largest certificate of the programs, in bits.
        calibration: expected calibration error of each subset's posterior, a share.
        cells: of each single modality's posterior.
        per_cell: records a class and cell, on average.
        trusted: enough records for what is claimed.
        seconds: what the report took.
    """

    gap: float
    calibration: dict[str, float]
    cells: dict[str, int]
    per_cell: float
    trusted: bool
    seconds: float


@dataclass(frozen=True)
class InteractionReport:
    """What modalities know about a target, together and apart, in bits.

    Attributes:
        target: its labels, classes and what was done to it.
        modalities: names, in order.
        where: what the modalities' arrays are.
        entropy: H(Y), certainty.
        data: the best experts on everything given.
        linear: what a linear probe can use of the same arrays.
        representation: what a linear probe reads off a model's own embedding of each subset.
        model: a supervised model's own predictions.
        combination: the test that the combination matters.
        curve: the same numbers on fewer records: name to {records: bits}.
        diagnostics: whether to believe it.
        settings: how it was made.
        warnings: what makes it less certain.
        notes: what a reader should know.
    """

    target: Target
    modalities: tuple[str, ...]
    where: str
    entropy: float
    data: View
    linear: View
    representation: View | None
    model: View | None
    combination: Combination
    curve: dict[str, dict[int, float]]
    diagnostics: Diagnostics
    settings: Settings
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    @property
    def records(self) -> int:
        return len(self.target.labels)

    @property
    def atoms(self) -> Pair:
        """Of two modalities; of more, of the first pair: read `data.spectrum` then."""
        return self.data.pairs[0]

    def contributions(self) -> pd.DataFrame:
        """Each record's share of every part, in bits: they average to the parts.

        The records with the largest `synergistic` are those whose label only the combination explains.
        """
        first, second = self.data.measured.pairs and next(iter(self.data.measured.pairs))
        parts = atoms_of_two(self.data.measured, first, second)
        columns = {f"I({subset_name(s)})": q.shares for s, q in self.data.measured.ladder.items()}
        columns |= {name: part.shares for name, part in parts.items()}
        return pd.DataFrame({"record": self.target.kept} | columns)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the records' shares, as JSON knows it."""
        from commlearn.evaluation.interactions.plain_values import report_values

        return report_values(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a number: view, quantity, of, bits, low, high, error, p."""
        from commlearn.evaluation.interactions.plain_values import report_rows

        return pd.DataFrame(report_rows(self))

    def __str__(self) -> str:
        from commlearn.evaluation.interactions.words import in_words

        return in_words(self)

    def plot(self, path: str | Path | None = None) -> Any:
        """The figure; also written to `path` if given."""
        from commlearn.evaluation.interactions.plot import draw

        return draw(self, path)


def shown(value: Known) -> str:
    return f"{value.bits:.2f} [{value.low:.2f}, {value.high:.2f}]"


def calibration_error(log: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Mean distance between confidence and hits, over bins of equal mass."""
    confidence, hit = np.exp(log.max(axis=1)), log.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidence), bins)
    gaps = [abs(confidence[part].mean() - hit[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(labels))
