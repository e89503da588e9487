"""The embedding map: a dot for each record, which moves as another subset of modalities is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from commlearn.plot.projection import aligned, project
from commlearn.probes import known_labels
from commlearn.probes.ladder import Embedded, called
from commlearn.reports.html import Safe, join, script_json, tag
from commlearn.reports.records import Cards, clipped, number

__all__ = ["Colouring", "colouring", "layouts", "map_section"]

WIDE, HIGH, EDGE = 480, 400, 14
COLOURS, SHAPES = 8, 3  # of classes; beyond 24 they share a grey
SCALE = 7  # steps of a number's colours
DOTS = ("M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0", "M-3-3h6v6h-6z", "M0-4.2L4 3.2H-4z")


@dataclass(frozen=True)
class Colouring:
    """The classes of a target, or the steps of a number, and which of them each record has (-1 = none)."""

    target: str
    labels: list[str]
    codes: list[int]
    steps: bool = False


def layouts(
    embedded: Mapping[str, Embedded], rows: np.ndarray, hows: Sequence[str], seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """By projection and subset: two numbers a shown record, NaN for one that the subset cannot embed."""
    points_by_layout: dict[str, dict[str, np.ndarray]] = {}
    for how in hows:
        points_by_layout[how] = {}
        last = None
        for name, part in list(embedded.items())[::-1]:  # all modalities first: the others are turned to them
            points = np.full((len(rows), 2), np.nan)
            place = {row: position for position, row in enumerate(part.rows.tolist())}
            there = np.array([row in place for row in rows.tolist()], dtype=bool)
            if there.sum() > 2:
                vectors = part.vectors[[place[row] for row in rows[there].tolist()]]
                fresh = project(vectors, how, seed)
                both = there if last is None else there & np.isfinite(last).all(axis=1)
                reference = fresh if last is None or both.sum() < there.sum() else last[there]
                points[there] = aligned(fresh, reference)
            last = points if last is None else last
            points_by_layout[how][name] = points
        points_by_layout[how] = {name: points_by_layout[how][name] for name in embedded}
    return points_by_layout


def colouring(target: str, labels: np.ndarray, sort: str) -> Colouring:
    """Classes by how often they occur; numbers in seven steps of equally many records."""
    labelled = known_labels(labels)
    if sort == "number" and len(np.unique(labels[labelled])) > SCALE:
        edges = np.unique(np.quantile(labels[labelled], np.linspace(0, 1, SCALE + 1)[1:-1]))
        steps = np.where(labelled, np.searchsorted(edges, np.where(labelled, labels, 0), side="right"), -1)
        ends = [float(labels[labelled].min()), *edges.tolist(), float(labels[labelled].max())]
        ranges = [f"{number(low)} to {number(high)}" for low, high in pairwise(ends)]
        return Colouring(target, ranges, steps.tolist(), steps=True)
    texts = np.array(
        [number(label) if there else "" for label, there in zip(labels.tolist(), labelled, strict=True)]
    )
    names, counts = np.unique(texts[labelled], return_counts=True)
    most = COLOURS * SHAPES
    if len(names) > most:
        names = np.sort(names[np.argsort(-counts, kind="stable")[: most - 1]])
    code = {name: place for place, name in enumerate(names.tolist())}
    other = len(code)
    codes = [
        code.get(text, other) if there else -1 for text, there in zip(texts.tolist(), labelled, strict=True)
    ]
    more = ["all others"] if other in codes else []
    return Colouring(target, [clipped(name, 40) for name in code] + more, codes)


def map_section(
    layouts_by_name: Mapping[str, Mapping[str, np.ndarray]], colourings: Sequence[Colouring], shown: Cards
) -> Safe:
    """Controls, dots, legend and the panel that describes the record under the pointer."""
    hows = list(layouts_by_name)
    subsets = list(layouts_by_name[hows[0]])
    panel = tag(
        "div", tag("p", "Point at a dot, tap it, or use the arrow keys."), id="panel", aria_live="polite"
    )
    controls = [
        _choices("by", "Embedded by", subsets, subsets[-1]),
        _choices("how", "Projection", hows, hows[0]),
    ]
    if colourings:
        options = [tag("option", c.target, value=place) for place, c in enumerate(colourings)]
        controls.append(tag("label", "Coloured by ", tag("select", *options, id="colour")))
    legend = tag("ul", *_legend(colourings), id="legend", class_="legend", aria_label="colours")
    help_text = tag(
        "p",
        "Dots near each other have embeddings that are alike. Records that a subset cannot embed are hidden.",
        id="map-help",
        class_="small",
    )
    drawn = _dots(layouts_by_name[hows[0]][subsets[-1]], subsets[-1], colourings)
    return join(
        [
            tag("form", *controls, class_="controls"),
            tag("div", tag("div", drawn, legend), panel, class_="mapgrid"),
            help_text,
            script_json(_map_data(layouts_by_name, colourings, shown), "map-data"),
        ]
    )


def _dots(points: np.ndarray, subset: str, colourings: Sequence[Colouring]) -> Safe:
    """A dot for each record, which the script moves and paints."""
    dots = [
        tag(
            "path",
            d=_dot(colourings, record),
            class_=_class(colourings, record),
            style=_where(xy),
            data_i=record,
        )
        for record, xy in enumerate(points)
    ]
    return tag(
        "svg",
        tag("title", f"Map of {len(points)} records by {called(subset)}"),
        *dots,
        viewBox=f"0 0 {WIDE} {HIGH}",
        id="map",
        tabindex="0",
        role="application",
        aria_label="Embedding map. Arrow keys go from record to record; what each holds is read out.",
        aria_describedby="map-help",
    )


def _map_data(
    layouts_by_name: Mapping[str, Mapping[str, np.ndarray]], colourings: Sequence[Colouring], shown: Cards
) -> dict[str, Any]:
    """What the page's script needs to move and colour the dots and to describe a record."""
    return {
        "layouts": {
            how: {name: _plain(points) for name, points in named.items()}
            for how, named in layouts_by_name.items()
        },
        "colourings": [
            {"target": c.target, "labels": c.labels, "codes": c.codes, "steps": c.steps} for c in colourings
        ],
        "names": shown.names,
        "keys": [key for key, _ in shown.values[0]] if shown.values else [],
        "values": [[value for _, value in values] for values in shown.values],
        "sprites": [
            {"modality": s.modality, "across": s.across, "there": s.there.astype(int).tolist()}
            for s in shown.sprites
        ],
        "dots": DOTS,
        "sizes": [COLOURS, SHAPES],
    }


def _choices(name: str, legend: str, values: Sequence[str], start: str) -> Safe:
    if len(values) < 2:
        return Safe("")
    radios = [
        tag(
            "label", tag("input", type="radio", name=name, value=value, checked=value == start), called(value)
        )
        for value in values
    ]
    return tag("fieldset", tag("legend", legend), *radios)


def _plain(points: np.ndarray) -> list[Any]:
    return [None if not np.isfinite(xy).all() else [round(float(v), 3) for v in xy] for xy in points]


def _where(xy: np.ndarray) -> str:
    if not np.isfinite(xy).all():
        return "display:none"
    x = WIDE / 2 + float(xy[0]) * (WIDE / 2 - EDGE)
    y = HIGH / 2 - float(xy[1]) * (HIGH / 2 - EDGE)
    return f"transform:translate({x:.1f}px,{y:.1f}px)"


def _class(colourings: Sequence[Colouring], record: int) -> str:
    return code_class(colourings[0], colourings[0].codes[record]) if colourings else "k0"


def code_class(colours: Colouring, code: int) -> str:
    if code < 0 or (
        not colours.steps and code >= COLOURS * SHAPES - 1 and colours.labels[-1] == "all others"
    ):
        return "kx"
    return f"q{code}" if colours.steps else f"k{code % COLOURS}"


def _dot(colourings: Sequence[Colouring], record: int) -> str:
    if not colourings or colourings[0].steps:
        return DOTS[0]
    return DOTS[max(colourings[0].codes[record], 0) // COLOURS % SHAPES]


def _legend(colourings: Sequence[Colouring]) -> list[Safe]:
    if not colourings:
        return []
    first = colourings[0]
    return [
        tag(
            "li", _key(DOTS[0 if first.steps else place // COLOURS % SHAPES], code_class(first, place)), label
        )
        for place, label in enumerate(first.labels)
    ]


def _key(dot: str, class_: str) -> Safe:
    return tag("svg", tag("path", d=dot, class_=class_), viewBox="-5 -5 10 10", aria_hidden="true")
