"""A report as plain values: dictionaries for JSON, rows for a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from commlearn.evaluation.interactions.quantities import ATOMS
from commlearn.evaluation.interactions.uncertainty import Known
from commlearn.evaluation.interactions.views import Pair, View

if TYPE_CHECKING:
    from commlearn.evaluation.interactions.report import InteractionReport

__all__ = ["report_rows", "report_values"]


def report_values(report: InteractionReport) -> dict[str, Any]:
    """The report as dictionaries and lists; the keys are those of `InteractionReport`."""
    labels, worth = report.target.labels, report.curve.worth
    return {
        "target": report.target.name,
        "records": report.records,
        "classes": {name: int((labels == label).sum()) for label, name in enumerate(report.target.classes)},
        "modalities": list(report.modalities),
        "where": report.where,
        "entropy": report.entropy,
        "level": report.settings.level,
        "views": {name: _view(view) for name, view in report.views.items()},
        "combination": asdict(report.combination),
        "curve": {
            str(key): {str(n): bits for n, bits in points.items()}
            for key, points in report.curve.numbers.items()
        },
        "extrapolated": {str(key): bits for key, bits in report.curve.extrapolated().items()},
        "worth": {name: [asdict(gain) for gain in gains] for name, gains in worth.items()},
        "diagnostics": asdict(report.diagnostics),
        "warnings": list(report.warnings),
        "notes": list(report.notes),
        "words": str(report),
    }


def _view(view: View) -> dict[str, Any]:
    return {
        "ladder": [
            {
                "modalities": list(subset),
                **_known(value),
                "accuracy": view.accuracy[subset],
                "balanced_accuracy": view.balanced_accuracy[subset],
            }
            for subset, value in view.ladder.items()
        ],
        "pairs": [_pair(pair) for pair in view.pairs],
        "spectrum": [_known(value) for value in view.spectrum],
        "unique": {name: _known(value) for name, value in view.unique.items()},
        "non_exclusive": _known(view.non_exclusive),
        "shapley": {name: _known(value) for name, value in view.shapley.items()},
        "total": _known(view.total),
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "first": list(pair.first),
        "second": list(pair.second),
        **{name: _known(getattr(pair, name)) for name in ATOMS},
        "total": _known(pair.total),
        "bounds_of_redundant": [pair.least_redundant, pair.most_redundant],
    }


def _known(value: Known) -> dict[str, float | None]:
    return {"bits": value.bits, "low": value.low, "high": value.high, "error": value.error, "p": value.p}


def report_rows(report: InteractionReport) -> Iterator[dict[str, Any]]:
    """One row a number."""
    for name, view in report.views.items():
        for key, value in view.numbers.items():
            yield {"view": name, "quantity": key.part, "of": key.of, **_known(value)}
