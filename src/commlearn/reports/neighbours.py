"""Nearest neighbours of a few records, by each subset of modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from commlearn.kinds.rows import spread
from commlearn.probes.ladder import Embedded, called
from commlearn.probes.nearest import nearest, unit
from commlearn.reports.html import Safe, fold, join, tag
from commlearn.reports.records import Cards

__all__ = ["nearest_records", "neighbours_section"]

ASKED, NEAREST = 4, 5  # records that are asked for, neighbours of each


def nearest_records(
    embedded: Mapping[str, Embedded], rows: np.ndarray, asked: int = ASKED, count: int = NEAREST
) -> dict[str, dict[int, list[int]]]:
    """By subset, then by record: the positions in `rows` whose embeddings have the smallest angle to its own.

    Records that a subset cannot embed have no neighbours there and are none.
    """
    chosen = list(spread(len(rows), asked))[:asked]
    neighbours_by_subset: dict[str, dict[int, list[int]]] = {}
    for name, part in embedded.items():
        place = {row: position for position, row in enumerate(part.rows.tolist())}
        there = np.array([record for record, row in enumerate(rows.tolist()) if row in place], dtype=np.int64)
        vectors = part.vectors[[place[row] for row in rows[there].tolist()]]
        asking = np.flatnonzero(np.isin(there, chosen))
        units, each = unit(vectors), np.arange(len(there))
        others, _ = nearest(units[asking], units, count, apart=(each[asking], each))
        neighbours_by_subset[name] = dict(zip(there[asking].tolist(), there[others].tolist(), strict=True))
    return neighbours_by_subset


def neighbours_section(
    neighbours_by_subset: Mapping[str, Mapping[int, list[int]]], shown: Cards, target: str | None
) -> Safe:
    """One row a record and subset; all modalities open, the others closed."""
    names = list(neighbours_by_subset)[::-1]
    parts: list[Any] = []
    for name in names:
        rows = [
            tag(
                "div",
                _card(shown, record, target, asked=True),
                *(_card(shown, o, target) for o in others),
                class_="row",
            )
            for record, others in neighbours_by_subset[name].items()
        ]
        body = join(rows) if rows else tag("p", "None of these records has these modalities.")
        parts.append(_under(f"By {called(name)}", body, name == names[0]))
    return join(parts)


def _under(title: str, body: Any, opened: bool) -> Safe:
    return join([tag("h3", title), body]) if opened else fold(title, body)


def _card(shown: Cards, record: int, target: str | None, asked: bool = False) -> Safe:
    pictures = [shown.picture(number, record) for number in range(len(shown.sprites))]
    values = dict(shown.values[record])
    captions = [f"{target}: {values[target]}"] if target in values else []
    if not pictures:
        captions += [value for key, value in shown.values[record] if key != target][:2]
    return tag(
        "div",
        *pictures,
        tag("b", shown.names[record]),
        *(tag("span", line) for line in captions),
        class_="card asked" if asked else "card",
    )
