"""The embedding map: a dot for each record, which moves when another subset of modalities is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from commlearn.plot.projection import aligned, project
from commlearn.probes.ladder import Embedded
from commlearn.probes.probe import has_label
from commlearn.reports.records import Cards, clipped, label_texts, number

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
    layouts_by_projection = {}
    for projection in hows:
        layout: dict[str, np.ndarray] = {}
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
            layout[name] = points
        layouts_by_projection[projection] = dict(reversed(layout.items()))
    return layouts_by_projection


def colouring(target: str, labels: np.ndarray, sort: str) -> Colouring:
    """Colour records by class, rare ones alike, or by number, in seven steps of equally many records."""
    labelled = has_label(labels)
    filled = labels[labelled]
    if sort == "number" and len(np.unique(filled)) > SCALE:
        edges = np.unique(np.quantile(filled, np.linspace(0, 1, SCALE + 1)[1:-1]))
        steps = np.where(labelled, np.searchsorted(edges, np.where(labelled, labels, 0), side="right"), -1)
        ends = [float(filled.min()), *edges.tolist(), float(filled.max())]
        ranges = [f"{number(low)} to {number(high)}" for low, high in pairwise(ends)]
        return Colouring(target, ranges, steps.tolist(), steps=True)
    texts = np.array(label_texts(labels, ""))
    names, counts = np.unique(texts[labelled], return_counts=True)
    if len(names) > COLOURS * SHAPES:
        names = np.sort(names[np.argsort(-counts, kind="stable")[: COLOURS * SHAPES - 1]])
    code = {name: index for index, name in enumerate(names.tolist())}
    codes = np.where(labelled, [code.get(text, len(code)) for text in texts.tolist()], -1).tolist()
    extra = ["all others"] if len(code) in codes else []
    return Colouring(target, [clipped(name, 40) for name in code] + extra, codes)


def dots(points: np.ndarray, colourings: Sequence[Colouring]) -> list[dict[str, str]]:
    """Return shape, class and position of each record's dot, which the script moves and colours."""
    alike = Colouring("", [], [0] * len(points))  # without targets, all dots look the same
    first = colourings[0] if colourings else alike
    drawn = []
    for code, xy in zip(first.codes, points, strict=True):
        style = "display:none"
        if np.isfinite(xy).all():
            x = WIDE / 2 + float(xy[0]) * (WIDE / 2 - EDGE)
            y = HIGH / 2 - float(xy[1]) * (HIGH / 2 - EDGE)
            style = f"transform:translate({x:.1f}px,{y:.1f}px)"
        outline = DOTS[0] if first.steps or code < 0 else DOTS[code % SHAPES]
        drawn.append({"d": outline, "class": code_class(first, code), "style": style})
    return drawn


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
        "colourings": list(map(asdict, colourings)),
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


def code_class(colours: Colouring, code: int) -> str:
    """Return the CSS class of a dot. Colours and shapes of classes repeat at different periods: 24 in all."""
    if colours.steps and code >= 0:
        return f"q{code}"
    is_other = code >= COLOURS * SHAPES - 1 and colours.labels[-1] == "all others"
    return "kx" if code < 0 or is_other else f"k{code % COLOURS}"
