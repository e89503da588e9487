"""The sections of the page, each from findings to HTML."""

from __future__ import annotations

from typing import Any

import yaml

from commlearn.config.configuration import to_mapping
from commlearn.config.places import settings_without_places
from commlearn.probes import score_of
from commlearn.probes.ladder import called
from commlearn.reports.findings import Findings
from commlearn.reports.html import Safe, fold, join, table, tag
from commlearn.reports.knowledge import information_section
from commlearn.reports.map import map_section
from commlearn.reports.neighbours import neighbours_section
from commlearn.reports.pictures import Pictures
from commlearn.reports.records import clipped
from commlearn.reports.words import in_short

__all__ = ["sections"]

ASK = " How much is shared, unique and synergistic, in bits: commlearn report RUN --interactions."


def sections(found: Findings, drawn: Pictures, command: str) -> dict[str, tuple[str, Safe]]:
    """By anchor: title and content; what there is nothing to say about is left out."""
    parts = {
        "short": ("In short", _short(found)),
        "data": ("Data", _data(found)),
        "training": ("Training", _training(found, drawn)),
        "probes": ("What a probe reads", _probes(found, drawn)),
        "interactions": (
            "What the modalities know together",
            information_section(found.interactions, drawn.interactions, found.source.targets),
        ),
        "embeddings": ("Map of the embeddings", map_section(found.maps, found.colourings, found.cards)),
        "neighbours": ("Nearest neighbours", _neighbours(found)),
        "seen": ("What the network sees", _seen(drawn, found)),
        "comparison": ("Comparison", _comparison(found)),
        "settings": ("Settings and how to reproduce", _settings(found, command)),
    }
    return {key: part for key, part in parts.items() if part[1]}


def _short(found: Findings) -> Safe:
    warnings = [*found.source.trained.warnings, *(found.audit.warnings if found.audit else [])]
    warnings += [str(told) for entry in found.metrics for told in entry.get("warnings", ())]
    told = [tag("div", text, class_="warn") for text in dict.fromkeys(warnings)]
    return join([tag("ul", *(tag("li", line) for line in in_short(found)), class_="short"), *told])


def _data(found: Findings) -> Safe:
    trained = found.source.trained
    rows = [
        (
            name,
            spec.kind,
            " x ".join(map(str, spec.shape)),
            f"{100 * found.present[name]:.0f} %",
            ", ".join(clipped(column, 30) for column in found.source.columns(name)) or "-",
        )
        for name, spec in trained.specs.items()
    ]
    modalities = table(
        ("modality", "kind", "shape", "present", "columns"), rows, "Modalities of the test records"
    )
    targets = [(name, _classes(told), told["known"]) for name, told in found.classes.items()]
    parts: list[Any] = [modalities]
    if targets:
        parts.append(table(("target", "values", "known"), targets, "Targets of the test records"))
    counts = ", ".join(f"{count:,} {name}" for name, count in found.counts.items() if name != "probe")
    return join([tag("p", f"Records: {counts}."), tag("div", *parts, class_="charts")])


def _classes(told: dict[str, Any]) -> str:
    if "outputs" in told:
        return f"{told['outputs']} outputs"
    if "quartiles" in told:
        return "quartiles " + ", ".join(f"{value:.4g}" for value in told["quartiles"])
    classes = list(told["classes"].items())
    more = f" and {len(classes) - 8} more" if len(classes) > 8 else ""
    return ", ".join(f"{clipped(name, 30)} ({count})" for name, count in classes[:8]) + more


def _training(found: Findings, drawn: Pictures) -> Safe:
    ranks = [(called(name), f"{rank:.1f}", found.dims[name]) for name, rank in found.ranks.items()]
    told = table(("embedded by", "effective rank", "dimensions"), ranks, "Directions that the embeddings use")
    if not drawn.training:
        return join([tag("p", "No metrics are kept with this model."), told])
    last = found.metrics[-1]
    right = last.get("accuracy", {})
    values = [
        (called(name), f"{value:.4f}", f"{100 * right[name]:.0f} %" if name in right else "-")
        for name, value in last.get("terms", {}).items()
    ]
    figures = [
        part.figure(table(("term", "loss", "retrieved in batch"), values, f"At step {last['step']}"))
        if not place
        else part.figure()
        for place, part in enumerate(drawn.training)
    ]
    return tag("div", *figures, told, class_="charts")


def _probes(found: Findings, drawn: Pictures) -> Safe:
    if not drawn.ladder:
        told = [tag("p", note) for note in found.notes]
        return join(told) if told else Safe("")
    about = tag(
        "p",
        "A linear probe (for numbers a ridge, else a logistic regression) on frozen embeddings of clean "
        "records, fitted on training records and scored on test records. Where modalities are missing, a "
        "subset is scored on the records that have one of its modalities: rows may rest on other records."
        + ("" if found.interactions or len(found.present) < 2 else ASK),
        class_="small",
    )
    figures = [part.figure(_rungs(found, target)) for target, part in drawn.ladder.items()]
    notes = [tag("p", note, class_="small") for note in found.notes]
    return join([about, tag("div", *figures, class_="charts"), *notes])


def _rungs(found: Findings, target: str) -> Safe:
    rows = []
    for name, result in found.ladder[target].items():
        low, high = result.interval
        rows.append(
            (
                called(name),
                f"{score_of(result):.3f}",
                f"{low:.3f} to {high:.3f}",
                f"{result.chance:.3f}",
                result.test_records,
            )
        )
    return table(("embedded by", "score", "95 % interval", "chance", "test records"), rows, target)


def _neighbours(found: Findings) -> Safe:
    about = tag(
        "p",
        "The framed record, then those whose embeddings lie at the smallest angles to its own, among the "
        "records of the map.",
        class_="small",
    )
    target = found.source.targets[0] if found.source.targets else None
    return join([about, neighbours_section(found.neighbours, found.cards, target)])


def _seen(drawn: Pictures, found: Findings) -> Safe:
    about = tag(
        "p",
        "Could you still tell the target from the augmented versions? If not, the network cannot learn it. "
        "Where encoders read fixed features, those are augmented: a bar each.",
    )
    figures = [part.figure() for part in drawn.seen.values()]
    if drawn.audit is not None:
        figures.append(drawn.audit.figure())
    return join([about, tag("div", *figures, class_="charts")])


def _comparison(found: Findings) -> Safe:
    if found.comparison is None:
        return Safe("")
    scores = list(found.comparison["scores"])
    rows = [
        (method, row.get("width") or "–", *(_cell(row["scores"].get(score, {})) for score in scores))
        for method, row in found.comparison["methods"].items()
    ]
    about = ", ".join(
        f"{score} = {' and '.join(targets)}" for score, targets in found.comparison["scores"].items()
    )
    return join(
        [
            tag("p", about, class_="small"),
            table(("method", "width", *scores), rows, str(found.comparison["metric"])),
        ]
    )


def _cell(score: dict[str, Any]) -> str:
    if score.get("mean") is None:
        return "-"
    spread = "" if score.get("std") is None else f" ± {score['std']:.1f}"
    return f"{score['mean']:.1f}{spread}"


def _settings(found: Findings, command: str) -> Safe:
    mapping = settings_without_places(to_mapping(found.source.trained.experiment))
    text = yaml.safe_dump(_lists(mapping), sort_keys=False, allow_unicode=True)
    versions = found.source.versions()
    parts = [
        tag("p", "The same settings, seed and versions give the same weights on the same machine."),
        tag("pre", command),
        table(("what", "version or value"), versions.items(), "Versions and seeds") if versions else "",
        fold("All settings", tag("pre", text)),
    ]
    return join(parts)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(part) for key, part in value.items()}
    return [_lists(part) for part in value] if isinstance(value, list | tuple) else value
