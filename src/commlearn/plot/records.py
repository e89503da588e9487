"""Maps of embedded records in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from commlearn.plot.style import LINE, legible, new_axes, styled
from commlearn.probes import has_label

MOST = 14  # classes drawn with their own colour and marker
MARKERS = "os^DvPX"
CLASSES = (
    "#332288",
    "#117733",
    "#aa4499",
    "#2a8c80",
    "#8a7a00",
    "#cc5566",
    "#882255",
    "#3d7fb0",
)  # as in the report


@styled
def embedding_map(
    points: np.ndarray,
    labels: Sequence[Any] | np.ndarray | None = None,
    title: str = "",
    axes: Axes | None = None,
) -> Axes:
    """Draw records in two dimensions, coloured by a target.

    Args:
        points: (records, 2), as `project` returns them.
        labels: one per record; numbers with more than 14 distinct values get a colour scale.
        title: title of the plot, such as the target's name.
        axes: axes to draw on.
    """
    axes = axes or new_axes(6.0, 3.8)
    finite = np.isfinite(points).all(axis=1)
    if labels is None:
        axes.scatter(points[finite, 0], points[finite, 1], s=9, color=CLASSES[0], linewidths=0)
    else:
        values = np.asarray(labels)
        if values.dtype.kind in "iuf" and len(np.unique(values[has_label(values)])) > MOST:
            cloud = axes.scatter(
                points[finite, 0], points[finite, 1], s=9, c=values[finite], cmap="cividis", linewidths=0
            )
            axes.figure.colorbar(cloud, ax=axes, fraction=0.04)
        else:
            _classes(axes, points[finite], np.array([str(value) for value in values[finite]]))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(legible(title))
    return axes


def _classes(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    """Draw the most frequent classes with a colour, a marker and a name each, and the others in grey."""
    names, counts = np.unique(labels, return_counts=True)
    frequent = names if len(names) <= MOST else np.sort(names[np.argsort(-counts, kind="stable")[: MOST - 1]])
    for index, name in enumerate(frequent):
        colour, marker = CLASSES[index % len(CLASSES)], MARKERS[index % len(MARKERS)]
        x, y = points[labels == name].T
        axes.scatter(x, y, s=11, color=colour, marker=marker, linewidths=0, label=legible(name, 28))
    others = ~np.isin(labels, frequent)
    if others.any():
        rest = f"{len(names) - len(frequent)} others"
        axes.scatter(
            points[others, 0], points[others, 1], s=9, color=LINE, linewidths=0, label=rest, zorder=0
        )
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.8)
