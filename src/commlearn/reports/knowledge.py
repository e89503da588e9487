"""What the modalities know together, as the page shows it: bars, sentences, all values on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from commlearn.information.pairs import pairs_in_words, part_in_words, share_in_words
from commlearn.plot.decomposition import parts_of

PARTS = ("redundant", "unique1", "unique2", "synergistic")


@dataclass(frozen=True)
class Part:
    """One piece of a bar."""

    label: str
    modality: str | None  # the modality that says it alone; None if shared or taking several together
    bits: float
    low: float
    high: float


def bars_of(values: Mapping[str, Any]) -> dict[str, list[Part]]:
    """Return a bar for each view or, with many modalities, for each pair, the one that knows most first."""
    if "alone" in values:
        pairs = sorted(values["pairs"], key=lambda pair: -pair["total"]["bits"])
        views = {pair["name"]: {"pairs": [pair], "spectrum": [None, None]} for pair in pairs}
    else:
        views = dict(values["views"])
    return {
        name: [
            Part(
                label,
                label.removeprefix("only ") if label.startswith("only ") else None,
                part["bits"],
                part["low"],
                part["high"],
            )
            for label, part in parts_of(view).items()
        ]
        for name, view in views.items()
    }


def doubtful(values: Mapping[str, Any]) -> bool:
    """Return whether the numbers must not be shown without saying that they cannot be trusted."""
    return str(values["verdict"]).startswith("CANNOT BE TRUSTED")


def sentences(values: Mapping[str, Any]) -> list[str]:
    """Return the findings as sentences, the most telling first."""
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
            part_in_words("{} is available only from both together", pair["synergistic"]),
        ]
    lines.append(part_in_words("{} can be read from more than one of them", view["non_exclusive"]))
    lines += [
        part_in_words(f"{{}} can be read from {name} only", part) for name, part in view["unique"].items()
    ]
    orders = enumerate(view["spectrum"][1:], 2)
    return lines + [part_in_words(f"{{}} needs {order} of them together", part) for order, part in orders]


def information_rows(values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return what the chart shows and what each subset knows: view or pair, part, bits, low, high, p."""
    if "alone" in values:
        rows = [_row("alone", name, part) for name, part in values["alone"].items()]
        for pair in values["pairs"]:
            labels = parts_of({"pairs": [pair], "spectrum": [None, None]})
            rows += [_row(pair["name"], *entry) for entry in zip(labels, map(pair.get, PARTS), strict=True)]
            rows.append(_row(pair["name"], "total", pair["total"]))
        return [*rows, _row("all", "total", values["total"])]
    rows = []
    for name, view in values["views"].items():
        rows += [_row(name, f"I({' + '.join(rung['modalities'])})", rung) for rung in view["ladder"]]
        rows += [_row(name, label, {**part, "p": None}) for label, part in parts_of(view).items()]
    return rows


def _row(view: str, part: str, quantity: Mapping[str, Any]) -> tuple[Any, ...]:
    return (view, part, quantity["bits"], quantity["low"], quantity["high"], quantity["p"])
