"""What the modalities know together, as the page shows it: a chart, sentences, all values on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commlearn import plot
from commlearn.information.pairs import pairs_in_words, part_in_words, share_in_words
from commlearn.plot.decomposition import parts_of
from commlearn.plot.interactions import pair_views
from commlearn.reports.charts import Chart, chart
from commlearn.reports.html import Safe, fold, join, table, tag

__all__ = ["information_chart", "information_rows", "information_section"]

PARTS = ("redundant", "unique1", "unique2", "synergistic")


def information_chart(place: int, name: str, values: Mapping[str, Any]) -> Chart:
    """A bar for each view, or for each pair of many modalities."""
    bars = {label: parts_of(view) for label, view in _views(values).items()}
    summary = "; ".join(
        f"{label}: " + ", ".join(f"{part} {bits:.2f}" for part, (bits, *_) in parts.items())
        for label, parts in bars.items()
    )
    title = f"What is known of {name}, in bits"
    return chart(
        f"information-{place}", title, f"{title}. {summary}", plot.information, {"views": _views(values)}
    )


def information_section(
    decompositions: Mapping[str, Mapping[str, Any]], drawn: Mapping[str, Chart], targets: tuple[str, ...]
) -> Safe:
    """Every decomposition, then what was not decomposed and how to ask for it."""
    if not decompositions:
        return Safe("")
    parts = [_one(values, drawn[name]) for name, values in decompositions.items() if name in drawn]
    notes = [
        f"{name} could not be decomposed: {v['problem']}"
        for name, v in decompositions.items()
        if "problem" in v
    ]
    asked = {values["of"] for values in decompositions.values()}
    others = [target for target in targets if target not in asked]
    if others:
        names = ", ".join(others)
        notes.append(
            f"Not decomposed: {names}. Name those that you want: --interactions --target {others[0]}"
        )
    return join([_about(decompositions), *parts, *(tag("p", note, class_="small") for note in notes)])


def _about(decompositions: Mapping[str, Mapping[str, Any]]) -> Safe:
    parts = (
        "Shared: each of them says it. Only: one says it and the others do not. Synergy: they say it "
        "together and none of them alone. Thin lines are 90 % intervals. All are lower bounds, found with "
        "experts that did not see the record that they judge. "
    )
    command = tag("code", "commlearn interactions RUN --target NAME")
    if any("alone" in values for values in decompositions.values()):
        paragraphs = [
            "Of more than three modalities each pair is taken apart here; ",
            command,
            " reads every subset.",
        ]
    else:
        paragraphs = [
            "Data: what the best experts find in the embeddings of single modalities. Linear: what a linear "
            "probe of them side by side can use. Representation: what a linear probe reads off the model's "
            "own embedding of each subset. ",
            command,
            " adds a learning curve.",
        ]
    return tag("p", parts, *paragraphs, class_="small")


def _one(values: Mapping[str, Any], drawn: Chart) -> Safe:
    warnings = [tag("div", f"{values['target']}: {text}.", class_="warn") for text in values["warnings"]]
    lines = tag("ul", *(tag("li", line) for line in sentences(values)), class_="short")
    notes = [tag("p", f"{note}.", class_="small") for note in values["notes"]]
    more = [fold("Values", _table(values))]
    more += [fold("In words", tag("pre", values["words"], class_="words"))] if "words" in values else []
    words = tag("div", lines, *warnings, *more, *notes)
    return tag("div", drawn.figure(), words, class_="charts")


def sentences(values: Mapping[str, Any]) -> list[str]:
    """The findings, the most telling first."""
    names, entropy = values["modalities"], values["entropy"]
    if "alone" in values:
        return [
            values["verdict"],
            share_in_words(names, values["total"], entropy),
            *pairs_in_words(values),
        ]
    view = values["views"]["data"]
    lines = [values["verdict"], share_in_words(names, view["total"], entropy)]
    if len(names) == 2:
        pair, (first, second) = view["pairs"][0], names
        return [
            *lines,
            part_in_words(f"{first} and {second} share {{}}", pair["redundant"]),
            part_in_words(f"{first} adds {{}} to {second}", pair["unique1"]),
            part_in_words(f"{second} adds {{}} to {first}", pair["unique2"]),
            part_in_words("{} is known only from both together", pair["synergistic"]),
        ]
    lines.append(part_in_words("{} can be read off more than one of them", view["non_exclusive"]))
    lines += [
        part_in_words(f"{{}} can be read off {name} alone", part) for name, part in view["unique"].items()
    ]
    orders = enumerate(view["spectrum"][1:], 2)
    return lines + [part_in_words(f"{{}} takes {order} of them together", part) for order, part in orders]


def _views(values: Mapping[str, Any]) -> dict[str, Any]:
    """As `plot.information` takes them."""
    return dict(values["views"]) if "alone" not in values else pair_views(values)


def _table(values: Mapping[str, Any]) -> Safe:
    rows = [
        (f"{view}: {part}", f"{bits:.3f}", f"{low:.3f} to {high:.3f}", "-" if p is None else f"{p:.3f}")
        for view, part, bits, low, high, p in information_rows(values)
    ]
    return table(("part", "bits", "interval", "p"), rows, str(values["target"]))


def information_rows(values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What the chart shows, and what each subset knows: view or pair, part, bits, low, high, p."""
    if "alone" in values:
        rows = [_row("alone", name, part) for name, part in values["alone"].items()]
        rows += [
            _row(pair["name"], part, pair[part]) for pair in values["pairs"] for part in (*PARTS, "total")
        ]
        return [*rows, _row("all", "total", values["total"])]
    rows = []
    for name, view in values["views"].items():
        rows += [_row(name, f"I({' + '.join(rung['modalities'])})", rung) for rung in view["ladder"]]
        rows += [(name, part, *three, None) for part, three in parts_of(view).items()]
    return rows


def _row(where: str, part: str, quantity: Mapping[str, Any]) -> tuple[Any, ...]:
    return (where, part, quantity["bits"], quantity["low"], quantity["high"], quantity["p"])
