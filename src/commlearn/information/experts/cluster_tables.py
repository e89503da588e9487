"""The counting expert: soft clusters of each modality, and the labels seen in their joint cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.special import logsumexp

from commlearn.information.experts.folds import Expert, Folds
from commlearn.information.pid.marginals import Array

_COMPONENTS = 16  # leading components in which clusters are sought
_ROUNDS = 15  # rounds of fitting the mixture
_AT_ONCE = 2**23  # records times joint cells in memory at once


def memberships(block: Array, clusters: int, seed: int) -> Array:
    """Assign records softly to clusters of the leading components, without labels, (records, clusters).

    The clusters are a mixture of Gaussians that share one variance per component, started from k-means.
    Components in which clusters are well separated become narrow and count more.
    """
    points = block[:, :_COMPONENTS]
    centres = np.unique(points.round(6), axis=0)
    if len(centres) > clusters:
        centres, _ = kmeans2(points, clusters, minit="++", iter=25, rng=seed)
    nearest = _distances(points, centres, np.ones(points.shape[1])).argmin(axis=1)
    members = np.eye(len(centres))[nearest]
    mean_squares, floor = (points**2).mean(axis=0), 1e-3 * points.var(axis=0) + 1e-12
    for _ in range(_ROUNDS):
        mass = members.sum(axis=0) + 1e-9
        centres = members.T @ points / mass[:, None]
        spread = np.maximum(mean_squares - mass @ centres**2 / len(points), floor)
        logits = np.log(mass) - _distances(points, centres, spread) / 2
        members = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    return members


def _distances(points: Array, centres: Array, spread: Array) -> Array:
    """Return squared distances in units of the spread, (records, clusters), up to a constant per record."""
    return (centres**2 / spread).sum(axis=1) - 2 * (points / spread) @ centres.T


def fit_table(members: tuple[Array, ...], labels: np.ndarray, folds: Folds) -> Expert:
    """Count labels in joint cells, with back-off to what the modalities say separately.

    Each cell starts with one record, its class shares as if modalities were independent given the class.
    """
    indicators = np.eye(int(labels.max()) + 1)[labels]  # (records, classes)
    training, cells = folds.training(), prod(part.shape[1] for part in members)
    counts = np.zeros((folds.count, cells, indicators.shape[1]))
    for rows, joint in _joints(members):
        for count, train in zip(counts, training, strict=True):
            count += joint[train[rows]].T @ indicators[rows][train[rows]]
    fitted = []
    for count, train in zip(counts, training, strict=True):
        table = count + _independent(members, indicators, train, indicators[train].mean(axis=0))
        table /= table.sum(axis=1, keepdims=True)
        fitted.append(partial(_read, table))
    return Expert(members, folds, fitted)


def _read(table: Array, members: Sequence[Array]) -> Array:
    """Return log p(y | x), the table's rows averaged by the record's weights on the joint cells."""
    probabilities = np.empty((len(members[0]), table.shape[1]))
    for rows, joint in _joints(members):
        probabilities[rows] = joint @ table
    return np.log(np.maximum(probabilities, 1e-6))


def _joints(members: Sequence[Array]) -> Iterator[tuple[slice, Array]]:
    """Yield products of memberships, (records, joint cells), for as many records at once as memory allows."""
    step = max(1, _AT_ONCE // prod(part.shape[1] for part in members))
    for start in range(0, len(members[0]), step):
        rows = slice(start, start + step)
        joint = members[0][rows]
        for part in members[1:]:
            joint = (joint[:, :, None] * part[rows, None, :]).reshape(len(joint), -1)
        yield rows, joint


def _independent(members: tuple[Array, ...], indicators: Array, train: np.ndarray, target: Array) -> Array:
    """Return p(y | cells) as if modalities were independent given the class, (joint cells, classes)."""
    logs = np.log(target)[None]
    for part in members:
        counts = part[train].T @ indicators[train] + target
        posterior = np.log(counts / counts.sum(axis=1, keepdims=True)) - np.log(target)
        logs = (logs[:, None] + posterior[None]).reshape(-1, len(target))
    return np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
