"""Records: as points of their embeddings, and as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commlearn.errors import ConfigurationError, unknown
from commlearn.evaluation.embed import carrier
from commlearn.evaluation.gallery import versions_of
from commlearn.evaluation.probes import known_labels
from commlearn.plot.style import COLOURS, columns, legible, new_axes, styled

__all__ = ["embedding_map", "gallery"]

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
        if values.dtype.kind == "f" and len(np.unique(values[known_labels(values)])) > 12:
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


@styled
def gallery(
    model: Any, data: Any, modality: str, records: int = 3, versions: int = 4, seed: int = 0
) -> np.ndarray:
    """What the network sees: records as they are (left) and augmented, one row each.

    Judge by eye whether you could still tell the target from the augmented versions.

    Args:
        model: a training, an artifact or an Embedder.
        data: a Dataset, Records, or a table.
        modality: which.
        records: how many, evenly spread.
        versions: augmented versions of each.
        seed: of the augmentation.
    """
    trained = carrier(model)
    if modality not in trained.specs:
        raise ConfigurationError(unknown("modality", modality, trained.specs))
    pages = versions_of(trained, data, modality, records, versions, seed)
    figure = Figure(figsize=(0.95 * (versions + 1), 1.0 * len(pages) + 0.1), layout="constrained")
    grid = figure.subplots(len(pages), versions + 1, squeeze=False)
    for number, page in enumerate(pages):
        for place, (cell, seen) in enumerate(zip(grid[number], page, strict=True)):
            seen.draw(cell)
            if not number:
                cell.set_title("clean" if not place else f"version {place}", fontsize=8)
        _one_scale(grid[number])
    return grid


def _one_scale(row: Sequence[Axes]) -> None:
    """Versions of one record are compared, so their lines and bars have one scale."""
    drawn = [cell for cell in row if cell.lines or cell.containers]
    limits = [cell.get_ylim() for cell in drawn]
    for cell in drawn:
        cell.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
