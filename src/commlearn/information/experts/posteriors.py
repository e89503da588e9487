"""Held-out posteriors p(y | A) of every subset A of modalities, from experts of several kinds, stacked.

The counting expert is here too: soft clusters of each modality, and the labels seen in their joint cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import prod
from threading import Lock

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning

from commlearn.batch import Subset
from commlearn.cores import cores, stated_threads
from commlearn.information.experts.folds import LINEAR, Expert, Folds, Stack, fit_linear, fit_stack
from commlearn.information.experts.models import (
    Recipe,
    boosting,
    fit_networks,
    fit_reduced,
    logistic,
    pair_directions,
    screened_columns,
)
from commlearn.information.pid.marginals import Array

_MOST_THREADS = 8  # threads, at most: only one at a time can run Python code


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool that cancels pending tasks on an error or an interrupt by the user."""
    pool = ThreadPoolExecutor(min(stated_threads() or cores(), _MOST_THREADS))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # callers have waited for the results they need


@contextmanager
def ignore_convergence_warnings() -> Iterator[None]:
    """Ignore convergence warnings: a probe stopped after 200 steps is as good as a converged one.

    Warning filters are shared by all threads, so the filter is set once around all of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


_MOST_CELLS = 32**3  # joint cells of a table: more would be empty, and would not fit into memory
_LEADING = 8  # leading components of each modality for the networks on few directions
_MANY_RECORDS = 5000  # records from which one large network per fold is enough
_CLUSTERS = (8, 32)  # number of clusters whose memberships networks read: with few records, with many

Fit = Callable[[], Expert]
Family = Callable[["Evidence", Subset], list[Fit]]


@dataclass(frozen=True)
class Evidence:
    """Features, labels and folds of the records of a report, which its experts read."""

    blocks: dict[str, Array]  # principal components of each modality
    columns: dict[str, Array]  # all columns of each modality, standardised
    fused: dict[Subset, Array]  # principal components of a model's own embedding of subsets
    labels: np.ndarray  # 0, ..., classes - 1
    folds: Folds  # the fold in which each record is held out, and the groups
    seed: int = 0  # seed of clusters and networks
    _memberships: dict[tuple[str, int], Array] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    @property
    def groups(self) -> np.ndarray | None:
        """Groups of the records as 0, 1, ..., if there are any."""
        return self.folds.groups

    @property
    def names(self) -> Subset:
        return tuple(self.blocks)

    def of(self, subset: Subset) -> tuple[Array, ...]:
        """Return the components of each modality of a subset."""
        return tuple(self.blocks[name] for name in subset)

    def clusters(self, subset: Subset, count: int) -> tuple[Array, ...]:
        """Return memberships in soft clusters of each modality, (records, count), which are computed once."""
        with self._lock:
            for name in subset:
                if (name, count) not in self._memberships:
                    self._memberships[name, count] = memberships(self.blocks[name], count, self.seed)
        return tuple(self._memberships[name, count] for name in subset)


@dataclass(frozen=True)
class Posterior:
    """Held-out posterior of the target given a subset of modalities."""

    subset: Subset
    experts: list[Expert]
    parts: list[Posterior]  # posteriors of the subsets inside this one
    stack: Stack
    log: Array  # (records, classes): natural log posterior of every record with its own values

    def paired(self, rows: Mapping[str, np.ndarray]) -> Array:
        """Return log p(y | A) with each modality taken from the record that `rows` names, within folds.

        The posterior given a single modality does not depend on what that modality is paired with.
        """
        chosen = [rows[name] for name in self.subset]
        if len(self.subset) == 1:
            return self.log[chosen[0]]
        logs = [expert.log(chosen) for expert in self.experts]
        logs += [part.paired(rows) for part in self.parts]
        return self.stack.combine(logs, chosen)


def fit_posteriors(
    evidence: Evidence,
    subsets: Sequence[Subset],
    family: Family,
    tell: Callable[[str], None] = lambda what: None,
    smaller: Mapping[Subset, Posterior] | None = None,
) -> dict[Subset, Posterior]:
    """Fit the posteriors of all subsets, smaller ones first, as a larger one builds on those inside it.

    All experts of a family are fitted in parallel, on all cores. `smaller` holds posteriors fitted before.
    """
    posteriors: dict[Subset, Posterior] = dict(smaller or {})
    with ignore_convergence_warnings(), workers() as pool:
        fits = {subset: [pool.submit(fit) for fit in family(evidence, subset)] for subset in subsets}
        for subset in subsets:
            tell(f"fitting experts for {' + '.join(subset)}")
            experts = [fit.result() for fit in fits[subset]]
            posteriors[subset] = stack_posterior(subset, experts, posteriors, evidence.labels, evidence.folds)
    return posteriors


def stack_posterior(
    subset: Subset,
    experts: Sequence[Expert],
    smaller: Mapping[Subset, Posterior],
    labels: np.ndarray,
    folds: Folds,
) -> Posterior:
    """Stack fitted experts and the posteriors of the subsets inside this one into one posterior."""
    parts = [smaller[part] for part in smaller if set(part) < set(subset)]
    logs = [expert.log() for expert in experts] + [part.log for part in parts]
    stack = fit_stack(logs, labels, folds)
    return Posterior(subset, list(experts), parts, stack, stack.combine(logs))


def linear_family(evidence: Evidence, subset: Subset) -> list[Fit]:
    """Return the fits of linear probes, with two strengths of penalty."""
    blocks = evidence.of(subset)
    return [partial(fit_linear, blocks, evidence.labels, evidence.folds, strength) for strength in LINEAR]


def rich_family(evidence: Evidence, subset: Subset) -> list[Fit]:
    """Return the fits of linear probes, boosting, small networks and cluster tables of several sizes.

    For combinations there are product models too.
    """
    blocks, labels, folds, seed = evidence.of(subset), evidence.labels, evidence.folds, evidence.seed

    def network_of_clusters(product: bool) -> Expert:
        """Read components and cluster memberships, so that effects of cluster pairs are easier to learn."""
        count = int(np.clip(len(labels) // 60, *_CLUSTERS))
        pairs = zip(blocks, evidence.clusters(subset, count), strict=True)
        inputs = tuple(np.concatenate([block, members * count**0.5], axis=1) for block, members in pairs)
        recipe = Recipe(copies=2 if len(labels) < _MANY_RECORDS else 1)
        return fit_networks(inputs, labels, folds, seed, product, recipe)

    def table(clusters: int) -> Expert:
        return fit_table(evidence.clusters(subset, clusters), labels, folds)

    columns = tuple(evidence.columns[name] for name in subset)
    # A linear probe of the most informative columns, too, if there are fewer components than columns.
    wide = any(part.shape[1] > block.shape[1] for part, block in zip(columns, blocks, strict=True))
    fits: list[Fit] = [
        partial(fit_reduced, columns, labels, folds, screened_columns, model)
        for model in ([boosting, logistic] if wide else [boosting])
    ]
    if len(subset) == 2:
        fits += _on_pairs(blocks, labels, folds, seed)
    if len(subset) == 1:
        fits.append(partial(fit_networks, blocks, labels, folds, seed))
    else:
        # Combinations are easier to find in few directions.
        leading = tuple(block[:, :_LEADING] for block in blocks)
        fits += [partial(network_of_clusters, product) for product in (False, True)]
        fits.append(partial(fit_networks, leading, labels, folds, seed))
    tables = [partial(table, clusters) for clusters in _cluster_counts(len(subset), len(labels))]
    return [*linear_family(evidence, subset), *fits, *tables]


def _on_pairs(blocks: tuple[Array, ...], labels: np.ndarray, folds: Folds, seed: int) -> list[Fit]:
    """Return the fits on products of directions: tanh networks, linear probes, and boosting."""
    recipe = Recipe(hidden=32, steps=True, copies=int(np.clip(4000 // len(labels), 1, 2)))
    choice = {rank: partial(pair_directions, rank=rank) for rank in (1, 2, 4, 6)}
    fits: list[Fit] = [
        partial(fit_networks, blocks, labels, folds, seed, True, recipe, choice[rank]) for rank in (1, 2, 4)
    ]
    return fits + [
        partial(fit_reduced, blocks, labels, folds, choice[rank], model)
        for rank, model in ((2, logistic), (6, logistic), (4, boosting))
    ]


def _cluster_counts(modalities: int, records: int) -> list[int]:
    """Return the table sizes: coarse ones, a fine one with about five records per joint cell, one in between.

    Example:
        >>> _cluster_counts(2, 2000), _cluster_counts(12, 2000)  # 3 clusters of 12 are 531 441 cells
        ([2, 3, 4, 9, 20], [2])
    """
    fine = int(np.clip((records / 5) ** (1 / modalities), 4, 32)) if modalities > 1 else 32
    coarse = {2, 3, 4} if modalities > 1 else {4}
    counts = sorted({*coarse, round((4 * fine) ** 0.5), fine})
    return [count for count in counts if count**modalities <= _MOST_CELLS]


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
