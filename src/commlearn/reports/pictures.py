"""The charts of a report: what of the findings is drawn, and the words for those who cannot see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from commlearn import plot
from commlearn.reports.charts import Chart, chart
from commlearn.reports.findings import Findings
from commlearn.reports.knowledge import information_chart

__all__ = ["Pictures", "draw"]

CALLED = {  # what the training measures after each epoch
    "diagnostics.rank": "effective rank",
    "diagnostics.spread": "alignment and uniformity",
    "diagnostics.sensitivity": "how far the embedding moves if one modality is another record's",
    "diagnostics.neighbours": "share of nearest others of the same class",
}
SHORT = {  # next to the axis
    "accuracy": "share retrieved",
    "diagnostics.neighbours": "same class",
    "diagnostics.sensitivity": "moved",
    "diagnostics.spread": "value",
}
KNOWN = {"step", "epoch", "learning_rate", "terms", "accuracy", "gradient_norm", "warnings"}


@dataclass(frozen=True)
class Pictures:
    """Charts by section."""

    training: list[Chart]
    ladder: dict[str, Chart]  # by target
    interactions: dict[str, Chart]  # by target
    seen: dict[str, Chart]  # by modality
    audit: Chart | None
    verdict: dict[str, Chart]  # by target

    def all(self) -> list[Chart]:
        audit = [self.audit] if self.audit else []
        return [
            *self.verdict.values(),
            *self.training,
            *self.ladder.values(),
            *self.interactions.values(),
            *self.seen.values(),
            *audit,
        ]


def draw(findings: Findings) -> Pictures:
    """Every chart that the findings allow."""
    audit = None
    if findings.audit is not None and findings.audit.rows:
        audit = chart(
            "audit",
            f"What a probe reads of {findings.audit.target} off clean and off augmented inputs",
            str(findings.audit),
            plot.audit,
            findings.audit,
        )
    return Pictures(
        training=_training(findings.metrics),
        ladder={
            target: chart(
                f"probe-{place}",
                f"What a linear probe reads of {target}, with 95 % intervals",
                "; ".join(f"{name}: {result}" for name, result in rungs.items()),
                plot.ladder,
                rungs,
                title=target,
            )
            for place, (target, rungs) in enumerate(findings.ladder.items())
        },
        interactions={
            name: information_chart(place, name, values)
            for place, (name, values) in enumerate(findings.interactions.items())
            if "problem" not in values
        },
        seen=_seen(findings),
        audit=audit,
        verdict={
            name: chart(
                f"verdict-{place}",
                f"{name}: budgets of labels, differences to the best rival, absent modalities",
                " ".join(values["words"]),
                plot.verdict,
                findings.verdict,
                name,
            )
            for place, (name, values) in enumerate((findings.verdict or {"targets": {}})["targets"].items())
        },
    )


def _training(metrics: list[dict[str, Any]]) -> list[Chart]:
    if not metrics:
        return []
    last = metrics[-1]
    terms = ", ".join(f"{name} {value:.3f}" for name, value in last.get("terms", {}).items())
    charts = [chart("losses", "Loss terms", f"Loss terms over steps. Last: {terms}", plot.losses, metrics)]
    named = {"accuracy": "in-batch retrieval accuracy", "gradient_norm": "gradient norm"}
    named |= {key: CALLED.get(key, key.replace("_", " ")) for key in _measured(metrics)}
    for key, label in named.items():
        if any(entry.get(key) for entry in metrics):
            title = f"{label[0].upper()}{label[1:]}"
            charts.append(
                chart(
                    f"metric-{key}",
                    title,
                    f"{title} over steps.",
                    plot.metric,
                    metrics,
                    key,
                    SHORT.get(key, label),
                )
            )
    return charts


def _measured(metrics: list[dict[str, Any]]) -> list[str]:
    """Further figures that the training wrote, such as the effective rank."""
    keys = dict.fromkeys(key for entry in metrics for key in entry if key not in KNOWN)
    return [key for key in keys if any(_is_figure(entry.get(key)) for entry in metrics)]


def _is_figure(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(_is_figure(part) for part in value.values())
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seen(findings: Findings) -> dict[str, Chart]:
    trained, data = findings.source.trained, findings.source.data
    return {
        name: chart(
            f"seen-{place}",
            f"{name}: clean (left), and as the network saw it in training",
            f"Gallery of clean and augmented versions of {name}.",
            plot.gallery,
            trained,
            data,
            name,
        )
        for place, name in enumerate(trained.specs)
    }
