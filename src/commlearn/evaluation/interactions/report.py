"""The report: everything that was found about one target, to read, to plot and to hand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from commlearn.evaluation.interactions.curve import Curve
from commlearn.evaluation.interactions.diagnose import Diagnostics
from commlearn.evaluation.interactions.estimate import atoms_of_two
from commlearn.evaluation.interactions.nulls import Combination
from commlearn.evaluation.interactions.plain_values import report_rows, report_values
from commlearn.evaluation.interactions.plot import draw
from commlearn.evaluation.interactions.quantities import subset_name
from commlearn.evaluation.interactions.settings import Settings
from commlearn.evaluation.interactions.target import Target
from commlearn.evaluation.interactions.views import Pair, View
from commlearn.evaluation.interactions.words import in_words

__all__ = ["InteractionReport", "LabelReports"]


@dataclass(frozen=True)
class InteractionReport:
    """What modalities know about a target, together and apart, in bits.

    Attributes:
        target: its labels, classes and what was done to it.
        where: what the modalities' arrays are.
        data: the DATA view: the best experts on everything given.
        linear: what a linear probe can use of the same arrays, side by side.
        representation: the REPRESENTATION view: a linear probe of a model's own embedding of each subset.
        raw: the best experts on the raw columns behind a model's embeddings, where they are few.
        model: the MODEL view: a supervised model's own predictions.
        combination: the test that the combination matters.
        curve: the same numbers on fewer records, and what each modality is worth.
        diagnostics: whether to believe it.
        settings: how it was made.
        warnings: what makes it less certain.
        notes: what a reader should know.
    """

    target: Target
    where: str
    data: View
    linear: View
    representation: View | None
    raw: View | None
    model: View | None
    combination: Combination
    curve: Curve
    diagnostics: Diagnostics
    settings: Settings
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in order."""
        return self.data.measured.names

    @property
    def entropy(self) -> float:
        """H(Y): the bits that certainty about the target takes."""
        return self.data.measured.entropy

    @property
    def records(self) -> int:
        return len(self.target.labels)

    @property
    def atoms(self) -> Pair:
        """Of two modalities. Of more, the first pair's: see `data.pairs` and `data.spectrum` then."""
        return self.data.pairs[0]

    @property
    def views(self) -> dict[str, View]:
        """Those that there are, by name."""
        named = {
            "data": self.data,
            "linear": self.linear,
            "representation": self.representation,
            "raw": self.raw,
            "model": self.model,
        }
        return {name: view for name, view in named.items() if view is not None}

    def contributions(self) -> pd.DataFrame:
        """Each record's share of every number, in bits: they average to the numbers.

        The records with the largest `synergistic` are those whose label only the combination explains.
        Of more than two modalities the parts are those of the first pair.
        """
        measured = self.data.measured
        first, second = next(iter(measured.pairs))
        columns = {f"I({subset_name(s)})": known.shares for s, known in measured.ladder.items()}
        parts = atoms_of_two(measured, first, second)
        columns |= {name: part.shares for name, part in parts.items()}
        label = np.array(self.target.classes, dtype=object)[self.target.labels]
        return pd.DataFrame({"record": self.target.kept, "label": label} | columns)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the records' shares, as JSON knows it."""
        return report_values(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a number: view, quantity, of, bits, low, high, error, p."""
        return pd.DataFrame(report_rows(self))

    def __str__(self) -> str:
        return in_words(self)

    def plot(self, path: str | Path | None = None) -> Figure:
        """The figure; also written to `path` if given."""
        return draw(self, path)


@dataclass(frozen=True)
class LabelReports:
    """One report a label of a multi-label target.

    Attributes:
        name: of the target.
        reports: by label.
    """

    name: str
    reports: dict[str, InteractionReport]

    def __getitem__(self, label: str) -> InteractionReport:
        return self.reports[label]

    def to_dict(self) -> dict[str, Any]:
        return {"target": self.name, "labels": {k: report.to_dict() for k, report in self.reports.items()}}

    def to_frame(self) -> pd.DataFrame:
        """The rows of all reports, with their label."""
        frames = [report.to_frame().assign(label=label) for label, report in self.reports.items()]
        return pd.concat(frames, ignore_index=True)

    def __str__(self) -> str:
        return "\n\n".join(str(report) for report in self.reports.values())

    def plot(self, path: str | Path | None = None) -> dict[str, Figure]:
        """One figure a label; the label joins the name of the file."""
        figures = {}
        for label, report in self.reports.items():
            named = None if path is None else Path(path).with_stem(f"{Path(path).stem}-{label}")
            figures[label] = report.plot(named)
        return figures
