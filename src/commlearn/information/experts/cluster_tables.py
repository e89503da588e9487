"""The counting expert: soft clusters of each modality, and the labels seen in their joint cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.special import logsumexp

from commlearn.information.experts.folds import Expert, Folds
from commlearn.information.pid.marginals import Array

_COMPONENTS = 16  # leading ones that clusters are sought in
_ROUNDS = 15  # of the mixture


def memberships(block: Array, clusters: int, seed: int) -> Array:
    """Soft assignment to clusters of the leading components, (records, clusters), without any label.

    A mixture of Gaussians that share one variance a component, from k-means on: components in which clusters
    are apart become narrow and count more.
    """
    points = block[:, :_COMPONENTS]
    centres = np.unique(points.round(6), axis=0)
    if len(centres) > clusters:
        centres, _ = kmeans2(points, clusters, minit="++", iter=25, rng=seed)
    nearest = _distances(points, centres, np.ones(points.shape[1])).argmin(axis=1)
    members = np.eye(len(centres))[nearest]
    whole, floor = (points**2).mean(axis=0), 1e-3 * points.var(axis=0) + 1e-12
    for _ in range(_ROUNDS):
        mass = members.sum(axis=0) + 1e-9
        centres = members.T @ points / mass[:, None]
        spread = np.maximum(whole - mass @ centres**2 / len(points), floor)
        logits = np.log(mass) - _distances(points, centres, spread) / 2
        members = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    return members


def _distances(points: Array, centres: Array, spread: Array) -> Array:
    """Squared distances in units of the spread, (records, clusters), but for a term of each record."""
    return (centres**2 / spread).sum(axis=1) - 2 * (points / spread) @ centres.T


def fit_table(members: tuple[Array, ...], labels: np.ndarray, folds: Folds) -> Expert:
    """Count labels in joint cells, with back-off to what the modalities say apart.

    A cell starts from its expected labels if modalities were independent given the class.
    """
    marked = np.eye(int(labels.max()) + 1)[labels]  # (records, classes)
    joint = _joint(members)
    fitted = []
    for train in folds.training():
        counts = joint[train].T @ marked[train]  # (joint cells, classes)
        table = counts + _independent(members, marked, train, marked[train].mean(axis=0))
        table /= table.sum(axis=1, keepdims=True)
        fitted.append(partial(_read, table))
    return Expert(members, folds, fitted)


def _read(table: Array, members: Sequence[Array]) -> Array:
    """Smoothed log p(y | joint cell)."""
    return np.log(np.maximum(_joint(members) @ table, 1e-6))


def _joint(members: Sequence[Array]) -> Array:
    """Products of memberships, (records, joint cells)."""
    joint = members[0]
    for part in members[1:]:
        joint = (joint[:, :, None] * part[:, None, :]).reshape(len(joint), -1)
    return joint


def _independent(members: tuple[Array, ...], marked: Array, train: np.ndarray, target: Array) -> Array:
    """p(y | cells) if modalities were independent given the class, (joint cells, classes)."""
    logs = np.log(target)[None]
    for part in members:
        counts = part[train].T @ marked[train] + target
        posterior = np.log(counts / counts.sum(axis=1, keepdims=True)) - np.log(target)
        logs = (logs[:, None] + posterior[None]).reshape(-1, len(target))
    return np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
