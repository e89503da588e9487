"""Embeddings projected to two dimensions for display: PCA, t-SNE, or UMAP if it is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
from scipy.linalg import eigh, orthogonal_procrustes

from commlearn.errors import ConfigurationError, unknown


def pca(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Project onto the two directions of most variance, (records, 2).

    The sign of each direction is fixed by its largest weight.
    """
    centred = vectors - vectors.mean(axis=0)
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
        vectors: (records, dim).
        how: pca, tsne, or umap if it is installed.
        seed: seed of tsne and umap.

    Example:
        >>> project(np.eye(4)).shape
        (4, 2)
    """
    if how not in PROJECTIONS:
        raise ConfigurationError(unknown("projection", how, PROJECTIONS))
    return PROJECTIONS[how](np.asarray(vectors), seed)


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
