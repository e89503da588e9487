"""The embedding map: a dot for each record, which moves when another subset of modalities is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from commlearn.plot.projection import aligned, project
from commlearn.probes import has_label
from commlearn.probes.ladder import Embedded
from commlearn.reports.records import Cards, clipped, number

WIDE, HIGH, EDGE = 480, 400, 14
COLOURS, SHAPES = 8, 3  # colours and shapes of classes; beyond 24, classes share a grey
SCALE = 7  # colour steps of a number
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
    """Return, by projection and subset, two numbers per shown record; NaN if the subset cannot embed it.

    Projections other than PCA show all modalities together only.
    """
    points_by_layout: dict[str, dict[str, np.ndarray]] = {}
    for projection in hows:
        points_by_layout[projection] = {}
        base = None
        subsets = list(embedded.items())[::-1]  # all modalities first: the others are aligned to them
        for name, part in subsets if projection == "pca" else subsets[:1]:  # other projections are slow
            points = np.full((len(rows), 2), np.nan)
            positions, vectors = part.among(rows)
            if len(positions) > 2:
                projected = project(vectors, projection, seed)
                reference = projected if base is None or np.isnan(base[positions]).any() else base[positions]
                points[positions] = aligned(projected, reference)
            base = points if base is None else base
            points_by_layout[projection][name] = points
        points_by_layout[projection] = {
            name: points_by_layout[projection][name]
            for name in embedded
            if name in points_by_layout[projection]
        }
    return points_by_layout


def colouring(target: str, labels: np.ndarray, sort: str) -> Colouring:
    """Colour records by class, rare ones alike, or by number, in seven steps of equally many records."""
    labelled = has_label(labels)
    if sort == "number" and len(np.unique(labels[labelled])) > SCALE:
        edges = np.unique(np.quantile(labels[labelled], np.linspace(0, 1, SCALE + 1)[1:-1]))
        steps = np.where(labelled, np.searchsorted(edges, np.where(labelled, labels, 0), side="right"), -1)
        ends = [float(labels[labelled].min()), *edges.tolist(), float(labels[labelled].max())]
        ranges = [f"{number(low)} to {number(high)}" for low, high in pairwise(ends)]
        return Colouring(target, ranges, steps.tolist(), steps=True)
    texts = np.array(
        [
            number(label) if is_labelled else ""
            for label, is_labelled in zip(labels.tolist(), labelled, strict=True)
        ]
    )
    names, counts = np.unique(texts[labelled], return_counts=True)
    most = COLOURS * SHAPES
    if len(names) > most:
        names = np.sort(names[np.argsort(-counts, kind="stable")[: most - 1]])
    code = {name: index for index, name in enumerate(names.tolist())}
    other = len(code)
    codes = [
        code.get(text, other) if is_labelled else -1
        for text, is_labelled in zip(texts.tolist(), labelled, strict=True)
    ]
    extra = ["all others"] if other in codes else []
    return Colouring(target, [clipped(name, 40) for name in code] + extra, codes)


def dots(points: np.ndarray, colourings: Sequence[Colouring]) -> list[dict[str, str]]:
    """Return shape, class and position of each record's dot, which the script moves and colours."""
    first = colourings[0] if colourings else None
    return [
        {"d": shape_of(first, record), "class": _class(first, record), "style": _position_style(xy)}
        for record, xy in enumerate(points)
    ]


def map_data(
    layouts_by_name: Mapping[str, Mapping[str, np.ndarray]],
    colourings: Sequence[Colouring],
    shown: Cards,
    near: Mapping[int, Sequence[int]],
) -> dict[str, Any]:
    """Return what the page's script needs to move and colour the dots and to describe a record."""
    return {
        "layouts": {
            projection: {name: _plain(points) for name, points in layout.items()}
            for projection, layout in layouts_by_name.items()
        },
        "colourings": [
            {"target": c.target, "labels": c.labels, "codes": c.codes, "steps": c.steps} for c in colourings
        ],
        "names": shown.names,
        "keys": [key for key, _ in shown.values[0]] if shown.values else [],
        "values": [[value for _, value in values] for values in shown.values],
        "texts": shown.texts,
        "near": [list(near.get(record, ())) for record in range(len(shown.names))],
        "sprites": [
            {"modality": s.modality, "across": s.across, "there": s.present.astype(int).tolist()}
            for s in shown.sprites
        ],
        "dots": DOTS,
        "sizes": [COLOURS, SHAPES],
    }


def _plain(points: np.ndarray) -> list[Any]:
    return [None if not np.isfinite(xy).all() else [round(float(v), 3) for v in xy] for xy in points]


def _position_style(xy: np.ndarray) -> str:
    if not np.isfinite(xy).all():
        return "display:none"
    x = WIDE / 2 + float(xy[0]) * (WIDE / 2 - EDGE)
    y = HIGH / 2 - float(xy[1]) * (HIGH / 2 - EDGE)
    return f"transform:translate({x:.1f}px,{y:.1f}px)"


def _class(colours: Colouring | None, record: int) -> str:
    return "k0" if colours is None else code_class(colours, colours.codes[record])


def code_class(colours: Colouring, code: int) -> str:
    """Return the CSS class of a dot. Colours and shapes of classes repeat at different periods: 24 in all."""
    if code < 0 or (
        not colours.steps and code >= COLOURS * SHAPES - 1 and colours.labels[-1] == "all others"
    ):
        return "kx"
    return f"q{code}" if colours.steps else f"k{code % COLOURS}"


def shape_of(colours: Colouring | None, record: int) -> str:
    """Return the outline of a dot."""
    if colours is None or colours.steps or colours.codes[record] < 0:
        return DOTS[0]
    return DOTS[colours.codes[record] % SHAPES]
