"""Whether the numbers of a report can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from commlearn.evaluation.interactions.evidence import Evidence, Logs
from commlearn.evaluation.interactions.quantise import cell_count
from commlearn.evaluation.interactions.quantities import subset_name
from commlearn.evaluation.interactions.views import View

__all__ = ["Diagnostics", "calibration_error", "diagnose"]

TRUSTED_RECORDS, TRUSTED_PER_CELL, TRUSTED_GROUPS = 500, 10.0, 20
_MISCALIBRATED = 0.05  # share by which confidence may miss the hits


@dataclass(frozen=True)
class Diagnostics:
    """Signs of trust and of doubt.

    Attributes:
        gap: the largest certificate of the programs, in bits.
        calibration: by how much the confidence of each subset's posterior misses its hits, a share.
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


def diagnose(logs: Logs, view: View, evidence: Evidence, seconds: float) -> tuple[Diagnostics, list[str]]:
    """The diagnostics, and a sentence with a number for each doubt.

    Args:
        logs: held-out posteriors of all subsets.
        view: their decomposition.
        evidence: the records.
        seconds: taken so far.
    """
    labels = evidence.labels
    classes = len(np.unique(labels))
    names = view.measured.names
    cells = dict(zip(names, view.measured.unions[0].cells, strict=True))
    per_cell = len(labels) / (classes * cell_count(len(labels), classes))
    expected = f"expect each part to be off by up to {_expected(view):.2f} bits"
    doubts = []
    if len(labels) < TRUSTED_RECORDS:
        doubts.append(f"{len(labels)} records are fewer than {TRUSTED_RECORDS}; {expected}")
    if per_cell < TRUSTED_PER_CELL:
        told = f"{per_cell:.1f} records a class and cell are fewer than {TRUSTED_PER_CELL:.0f}"
        doubts.append(f"{told}; {expected}")
    if evidence.groups is not None and (count := len(np.unique(evidence.groups))) < TRUSTED_GROUPS:
        doubts.append(f"{count} groups are fewer than {TRUSTED_GROUPS}; {expected}")
    trusted = not doubts
    errors = {subset_name(subset): calibration_error(log, labels) for subset, log in logs.items()}
    chance = 1 / np.sqrt(len(labels))  # what sampling alone leaves
    doubts += [
        f"the posterior of {name} is miscalibrated: its confidence misses its hits by "
        f"{100 * error:.0f} points"
        for name, error in errors.items()
        if error > _MISCALIBRATED + chance
    ]
    return Diagnostics(view.measured.gap, errors, cells, per_cell, trusted, seconds), doubts


def _expected(view: View) -> float:
    """Half the widest interval among the parts, and no less than what 1 000 records leave, scaled."""
    parts = [*view.spectrum, *view.unique.values(), *(pair.redundant for pair in view.pairs)]
    records = len(view.measured.total.shares)
    return max(0.05 * float(np.sqrt(1000 / records)), *((part.high - part.low) / 2 for part in parts))


def calibration_error(log: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Mean distance between confidence and hits, over bins of equal mass.

    Example:
        >>> calibration_error(np.log([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 0])).__round__(2)
        0.1
    """
    confidence, hit = np.exp(log.max(axis=1)), log.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    gaps = [abs(confidence[part].mean() - hit[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(labels))
