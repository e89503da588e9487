"""Maps of embedded records in two dimensions: PCA, t-SNE, or UMAP if it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.linalg import eigh, orthogonal_procrustes

from commlearn.errors import ConfigurationError, DataError, unknown
from commlearn.plot.style import LINE, legible, new_axes, styled
from commlearn.probes.probe import has_label

MOST = 14  # classes drawn with their own colour and marker
MARKERS = "os^DvPX"
CLASSES = ("#332288", "#117733", "#aa4499", "#2a8c80", "#8a7a00", "#cc5566", "#882255", "#3d7fb0")
"""Colours of classes, as in the report."""


def pca(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Project onto the two directions of most variance, (records, 2).

    The sign of each direction is fixed by its largest weight.
    """
    centred = vectors - vectors.mean(axis=0)
    if centred.shape[1] == 1:
        return np.column_stack([centred[:, 0], np.zeros(len(centred))])
    if min(centred.shape) < 2:
        return np.zeros((len(vectors), 2))
    exact = centred.astype(np.float64)
    if exact.shape[1] > len(exact):
        directions = np.linalg.svd(exact, full_matrices=False)[2][:2]
    else:  # the same from a small matrix; eigh returns the smaller one first
        last = exact.shape[1] - 1
        directions = eigh(exact.T @ exact, subset_by_index=(last - 1, last))[1].T[::-1]
    signs = np.sign(directions[np.arange(2), np.abs(directions).argmax(axis=1)])
    return centred @ (directions * signs[:, None]).T


def tsne(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Project by t-SNE, which keeps neighbourhoods rather than distances, (records, 2).

    Fewer than five records get their PCA.
    """
    if len(vectors) < 5:
        return pca(vectors, seed)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(vectors) - 1) / 3)
    model = TSNE(2, perplexity=perplexity, init="random", max_iter=500, random_state=seed)
    return np.asarray(model.fit_transform(np.asarray(vectors, dtype=np.float32)))


def umap(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Project by UMAP, which keeps neighbourhoods rather than distances, (records, 2)."""
    if importlib.util.find_spec("umap") is None:
        raise ConfigurationError("UMAP is not installed. Install it: pip install 'commlearn[umap]'")
    from umap import UMAP

    neighbours = min(15, max(2, len(vectors) - 1))
    return np.asarray(UMAP(n_components=2, n_neighbors=neighbours, random_state=seed).fit_transform(vectors))


PROJECTIONS = {"pca": pca, "tsne": tsne, "umap": umap}


def projections() -> list[str]:
    """Return the names of the projections that are installed."""
    return [name for name in PROJECTIONS if name != "umap" or importlib.util.find_spec("umap") is not None]


def project(vectors: np.ndarray, how: str = "pca", seed: int = 0) -> np.ndarray:
    """Project each record to two numbers, (records, 2).

    Args:
        vectors: (records, dim); a record without any value, such as one whose embedding is NaN, gets NaN.
        how: pca, tsne, or umap if it is installed.
        seed: seed of tsne and umap.

    Example:
        >>> project(np.eye(4)).shape
        (4, 2)
    """
    if how not in PROJECTIONS:
        raise ConfigurationError(unknown("projection", how, PROJECTIONS))
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.dtype.kind not in "biufO":
        raise DataError(
            f"The vectors to project are {vectors.dtype} of shape {vectors.shape}; give numbers of shape "
            "(records, dim)."
        )
    vectors = vectors.astype(np.float64) if vectors.dtype.kind in "bO" else vectors
    finite = np.isfinite(vectors).all(axis=1)
    if finite.all():
        return PROJECTIONS[how](vectors, seed)
    wrong = np.flatnonzero(~finite & ~np.isnan(vectors).all(axis=1))
    if len(wrong):
        rows = ", ".join(map(str, wrong[:10])) + (f" and {len(wrong) - 10} more" if len(wrong) > 10 else "")
        raise DataError(f"Not all values of row {rows} are finite. Leave these rows out, or correct them.")
    points = np.full((len(vectors), 2), np.nan)
    if finite.any():
        points[finite] = PROJECTIONS[how](vectors[finite], seed)
    return points


def aligned(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Centre, rotate and mirror a map to match a reference, and scale it to fit -1..1.

    Args:
        points: (records, 2).
        reference: (records, 2), for the same records.

    Example:
        >>> square = np.array([[1.0, 1], [-1, 1], [-1, -1], [1, -1]])
        >>> bool(np.allclose(aligned(square @ np.array([[0, 1], [-1, 0]]), square), square))
        True
    """
    centred, centred_reference = points - points.mean(axis=0), reference - reference.mean(axis=0)
    rotated = centred @ orthogonal_procrustes(centred, centred_reference)[0]
    return rotated / max(float(np.abs(rotated).max(initial=0.0)), 1e-12)


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
        labels: one per record; numbers with more than 14 distinct values get a colour scale, and missing ones
            (None or NaN) are grey.
        title: title of the plot, such as the target's name.
        axes: axes to draw on.
    """
    points = np.asarray(points)
    if labels is not None and len(labels) != len(points):
        raise DataError(f"There are {len(labels)} labels for {len(points)} points; give one label per point.")
    axes = axes or new_axes(6.0, 3.8)
    finite = np.isfinite(points).all(axis=1)
    x, y = points[finite, 0], points[finite, 1]
    values = np.asarray(labels)
    if values.dtype.kind == "U":  # next to texts, NumPy turns NaN into the text "nan"
        values = np.asarray(labels, dtype=object)
    labelled = np.ones(len(points), dtype=bool) if labels is None else has_label(values)
    if values.ndim == 1 and values.dtype == object:
        filled = pd.Series(values[labelled]).infer_objects()
        if filled.dtype.kind in "iuf" and filled.nunique() > MOST:  # numbers next to None
            values = np.full(len(values), np.nan)
            values[labelled] = filled
    unlabelled = finite & ~labelled
    if unlabelled.any():
        axes.scatter(points[unlabelled, 0], points[unlabelled, 1], s=9, color=LINE, linewidths=0)
    if labels is None:
        axes.scatter(x, y, s=9, color=CLASSES[0], linewidths=0)
    elif values.dtype.kind in "iuf" and len(np.unique(values[labelled])) > MOST:
        cloud = axes.scatter(x, y, s=9, c=values[finite], cmap="cividis", linewidths=0)
        axes.figure.colorbar(cloud, ax=axes, fraction=0.04)
    elif (named := finite & labelled).any():
        _classes(axes, points[named], np.array([str(value) for value in values[named]]))
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
        x, y = points[others].T
        axes.scatter(x, y, s=9, color=LINE, linewidths=0, label=rest, zorder=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.8)
