"""The sections of the page, each from findings to HTML."""

from __future__ import annotations

from typing import Any

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
from commlearn.storage.plain_yaml import yaml_text

__all__ = ["sections"]

ASK = " How much is shared, unique and synergistic, in bits: commlearn report RUN --interactions."


def sections(findings: Findings, drawn: Pictures, command: str) -> dict[str, tuple[str, Safe]]:
    """By anchor: title and content; what there is nothing to say about is left out."""
    parts = {
        "verdict": ("Does it add anything?", _verdict(findings, drawn)),
        "short": ("In short", _short(findings)),
        "data": ("Data", _data(findings)),
        "training": ("Training", _training(findings, drawn)),
        "probes": ("What a probe reads", _probes(findings, drawn)),
        "interactions": (
            "What the modalities know together",
            information_section(findings.interactions, drawn.interactions, findings.source.targets),
        ),
        "embeddings": (
            "Map of the embeddings",
            map_section(findings.maps, findings.colourings, findings.cards),
        ),
        "neighbours": ("Nearest neighbours", _neighbours(findings)),
        "seen": ("What the network sees", _seen(drawn, findings)),
        "comparison": ("Comparison", _comparison(findings)),
        "settings": ("Settings and how to reproduce", _settings(findings, command)),
    }
    return {key: part for key, part in parts.items() if part[1]}


def _short(findings: Findings) -> Safe:
    warnings = [*findings.source.trained.warnings, *(findings.audit.warnings if findings.audit else [])]
    warnings += [str(warning) for entry in findings.metrics for warning in entry.get("warnings", ())]
    boxes = [tag("div", text, class_="warn") for text in dict.fromkeys(warnings)]
    return join([tag("ul", *(tag("li", line) for line in in_short(findings)), class_="short"), *boxes])


def _data(findings: Findings) -> Safe:
    trained = findings.source.trained
    rows = [
        (
            name,
            spec.kind,
            " x ".join(map(str, spec.shape)),
            f"{100 * findings.present[name]:.0f} %",
            ", ".join(clipped(column, 30) for column in findings.source.columns(name)) or "-",
        )
        for name, spec in trained.specs.items()
    ]
    modalities = table(
        ("modality", "kind", "shape", "present", "columns"), rows, "Modalities of the test records"
    )
    targets = [(name, _classes(labels), labels["known"]) for name, labels in findings.classes.items()]
    parts: list[Any] = [modalities]
    if targets:
        parts.append(table(("target", "values", "known"), targets, "Targets of the test records"))
    counts = ", ".join(f"{count:,} {name}" for name, count in findings.counts.items() if name != "probe")
    return join([tag("p", f"Records: {counts}."), tag("div", *parts, class_="charts")])


def _classes(labels: dict[str, Any]) -> str:
    if "outputs" in labels:
        return f"{labels['outputs']} outputs"
    if "quartiles" in labels:
        return "quartiles " + ", ".join(f"{value:.4g}" for value in labels["quartiles"])
    classes = list(labels["classes"].items())
    more = f" and {len(classes) - 8} more" if len(classes) > 8 else ""
    return ", ".join(f"{clipped(name, 30)} ({count})" for name, count in classes[:8]) + more


def _training(findings: Findings, drawn: Pictures) -> Safe:
    ranks = [(called(name), f"{rank:.1f}", findings.dims[name]) for name, rank in findings.ranks.items()]
    ranks_table = table(
        ("embedded by", "effective rank", "dimensions"), ranks, "Directions that the embeddings use"
    )
    if not drawn.training:
        return join([tag("p", "No metrics are kept with this model."), ranks_table])
    last = findings.metrics[-1]
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
    return tag("div", *figures, ranks_table, class_="charts")


def _probes(findings: Findings, drawn: Pictures) -> Safe:
    if not drawn.ladder:
        paragraphs = [tag("p", note) for note in findings.notes]
        return join(paragraphs) if paragraphs else Safe("")
    about = tag(
        "p",
        "A linear probe (for numbers a ridge, else a logistic regression) on frozen embeddings of clean "
        "records, fitted on training records and scored on test records. Where modalities are missing, a "
        "subset is scored on the records that have one of its modalities: rows may rest on other records."
        + ("" if findings.interactions or len(findings.present) < 2 else ASK),
        class_="small",
    )
    figures = [part.figure(_rungs(findings, target)) for target, part in drawn.ladder.items()]
    notes = [tag("p", note, class_="small") for note in findings.notes]
    return join([about, tag("div", *figures, class_="charts"), *notes])


def _rungs(findings: Findings, target: str) -> Safe:
    rows = []
    for name, result in findings.ladder[target].items():
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


def _neighbours(findings: Findings) -> Safe:
    about = tag(
        "p",
        "The framed record, then those whose embeddings lie at the smallest angles to its own, among the "
        "records of the map.",
        class_="small",
    )
    target = findings.source.targets[0] if findings.source.targets else None
    return join([about, neighbours_section(findings.neighbours, findings.cards, target)])


def _seen(drawn: Pictures, findings: Findings) -> Safe:
    about = tag(
        "p",
        "Could you still tell the target from the augmented versions? If not, the network cannot learn it. "
        "Where encoders read fixed features, those are augmented: a bar each.",
    )
    figures = [part.figure() for part in drawn.seen.values()]
    if drawn.audit is not None:
        figures.append(drawn.audit.figure())
    return join([about, tag("div", *figures, class_="charts")])


def _verdict(findings: Findings, drawn: Pictures) -> Safe:
    """What the comparison that the run belongs to says of each target."""
    if findings.verdict is None:
        return Safe("")
    parts = []
    for name, values in findings.verdict["targets"].items():
        parts += [tag("h3", name), tag("ul", *(tag("li", line) for line in values["words"]), class_="short")]
        parts.append(tag("div", drawn.verdict[name].figure(), class_="charts"))
    left_out = [f"{name} ({reason})" for name, reason in findings.verdict["not_tried"].items()]
    if left_out:
        parts.append(tag("p", f"Not tried: {', '.join(left_out)}.", class_="small"))
    return join(parts)


def _comparison(findings: Findings) -> Safe:
    if findings.comparison is None:
        return Safe("")
    scores = list(findings.comparison["scores"])
    rows = [
        (method, row.get("width") or "–", *(_cell(row["scores"].get(score, {})) for score in scores))
        for method, row in findings.comparison["methods"].items()
    ]
    about = ", ".join(
        f"{score} = {' and '.join(targets)}" for score, targets in findings.comparison["scores"].items()
    )
    return join(
        [
            tag("p", about, class_="small"),
            table(("method", "width", *scores), rows, str(findings.comparison["metric"])),
        ]
    )


def _cell(score: dict[str, Any]) -> str:
    if score.get("mean") is None:
        return "-"
    spread = "" if score.get("std") is None else f" ± {score['std']:.1f}"
    return f"{score['mean']:.1f}{spread}"


def _settings(findings: Findings, command: str) -> Safe:
    mapping = settings_without_places(to_mapping(findings.source.trained.experiment))
    text = yaml_text(mapping, allow_unicode=True)
    versions = findings.source.versions()
    parts = [
        tag("p", "The same settings, seed and versions give the same weights on the same machine."),
        tag("pre", command),
        table(("what", "version or value"), versions.items(), "Versions and seeds") if versions else "",
        fold("All settings", tag("pre", text)),
    ]
    return join(parts)
