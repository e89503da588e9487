"""Records as points of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from commlearn.plot.style import COLOURS, columns, legible, new_axes, styled
from commlearn.probes import has_label

__all__ = ["embedding_map"]

MARKERS = "osD^vP"


@styled
def embedding_map(
    points: np.ndarray,
    labels: Sequence[Any] | np.ndarray | None = None,
    title: str = "",
    axes: Axes | None = None,
) -> Axes:
    """Records in two dimensions, coloured by a target.

    Args:
        points: (records, 2), as `project` gives them.
        labels: one a record; numbers of many values are coloured by size.
        title: such as the target's name.
        axes: where to draw.
    """
    axes = axes or new_axes(height=3.8)
    shown = np.isfinite(points).all(axis=1)
    if labels is None:
        axes.scatter(points[shown, 0], points[shown, 1], s=9, color=COLOURS[0], linewidths=0)
    else:
        values = np.asarray(labels)
        if values.dtype.kind == "f" and len(np.unique(values[has_label(values)])) > 12:
            cloud = axes.scatter(
                points[shown, 0], points[shown, 1], s=9, c=values[shown], cmap="cividis", linewidths=0
            )
            axes.figure.colorbar(cloud, ax=axes, fraction=0.04)
        else:
            _classes(axes, points[shown], np.array([str(value) for value in values[shown]]))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(legible(title))
    return axes


def _classes(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    for place, label in enumerate(np.unique(labels)):
        rows = labels == label
        colour = COLOURS[place % len(COLOURS)]
        marker = MARKERS[place // len(COLOURS) % len(MARKERS)]
        axes.scatter(
            points[rows, 0],
            points[rows, 1],
            s=9,
            color=colour,
            marker=marker,
            linewidths=0,
            label=legible(label),
        )
    named = [legible(label) for label in np.unique(labels)]
    axes.legend(ncols=columns(named), loc="upper center", bbox_to_anchor=(0.5, -0.02), markerscale=2)
