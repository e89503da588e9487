"""Measures of predictions: each for many weightings of the same test records at once.

A bootstrap sample is a weighting: how often each record was drawn. A measure takes weights of shape
(draws, records) and gives (draws,); a single row of ones gives the plain value.
"""

from __future__ import annotations

import numpy as np


def once(records: int) -> np.ndarray:
    """Every record one time, (1, records)."""
    return np.ones((1, records), dtype=np.float32)


def accuracy(right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the records that are right."""
    return (weights @ right.astype(np.float32)) / weights.sum(axis=1)


def mean_recall(right: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Balanced accuracy: the mean over the classes of the share of their records that are right."""
    recalls = [accuracy(right[labels == label], weights[:, labels == label]) for label in np.unique(labels)]
    return np.mean(recalls, axis=0)


def auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: how often a positive record scores above a negative one, ties half."""
    hits, misses = _by_score(scores, positive, weights)  # (draws, distinct scores), the highest first
    above = np.cumsum(hits, axis=1) - hits / 2
    both = np.einsum("ij,ij->i", above, misses, dtype=np.float64)
    return both / (_total(hits) * _total(misses))


def auprc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision: the precision at each distinct score, weighted by the recall it adds."""
    hits, misses = _by_score(scores, positive, weights)
    above = np.cumsum(hits, axis=1)
    has_hits = hits.any(axis=0)  # at other scores no recall is added
    precision = above[:, has_hits] / np.maximum(np.cumsum(hits + misses, axis=1)[:, has_hits], 1e-12)
    return np.einsum("ij,ij->i", hits[:, has_hits], precision, dtype=np.float64) / _total(hits)


def mean_over_labels(
    measure: object, scores: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The mean of `auroc` or `auprc` over labels; one that all or no test record has is left out."""
    of_labels = [
        measure(scores[:, label], positive[:, label], weights)  # type: ignore[operator]
        for label in range(positive.shape[1])
        if 0 < positive[:, label].sum() < len(positive)
    ]
    return np.nanmean(of_labels, axis=0) if of_labels else np.full(len(weights), np.nan)


def f1(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray, weighted: bool) -> np.ndarray:
    """F1 of each label, averaged over labels: equally, or weighted by how many records have the label."""
    hits = weights @ (predicted & truth).astype(np.float32)  # (draws, labels)
    predicted_count = weights @ predicted.astype(np.float32)
    there = weights @ truth.astype(np.float32)
    scores = 2 * hits / np.maximum(predicted_count + there, 1e-12)
    if not weighted:
        return scores.mean(axis=1)
    return (scores * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1e-12)


def squared_error(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared error of each output, (draws, outputs)."""
    return (weights @ (predicted - truth) ** 2) / weights.sum(axis=1, keepdims=True)


def r2(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the variance of each output that is explained, (draws, outputs)."""
    count = weights.sum(axis=1, keepdims=True)
    centred = truth - truth.mean(axis=0)
    variance = weights @ centred**2 / count - (weights @ centred / count) ** 2
    return 1 - squared_error(predicted, truth, weights) / np.maximum(variance, 1e-12)


def _by_score(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the positive and of the negative records at each distinct score, the highest first.

    In float32, which holds every count of up to 16 million records exactly, and their halves up to 8.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    drawn = weights[:, order]
    hits = drawn * positive[order]
    if len(starts) < len(order):
        hits, drawn = (np.add.reduceat(part, starts, axis=1) for part in (hits, drawn))
    return hits, drawn - hits


def _total(weights: np.ndarray) -> np.ndarray:
    return weights.sum(axis=1, dtype=np.float64)
