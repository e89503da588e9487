"""Held-out posteriors p(y | A) of every subset A of modalities, from experts of several kinds, stacked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from threading import Lock

import numpy as np
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning

from commlearn.cores import cores, stated_threads
from commlearn.information.experts.cluster_tables import fit_table, memberships
from commlearn.information.experts.folds import LINEAR, Expert, Folds, fit_linear
from commlearn.information.experts.networks import Recipe, fit_networks
from commlearn.information.experts.reduced import (
    boosting,
    fit_reduced,
    logistic,
    pair_directions,
    pair_starts,
    screened_columns,
)
from commlearn.information.experts.stacking import Stack, fit_stack
from commlearn.information.pid.marginals import Array

_MOST_THREADS = 8  # threads, at most: only one at a time can run Python code


def threads() -> int:
    """Return the value of OMP_NUM_THREADS, or the number of cores that this process may use; at most 8."""
    return min(stated_threads() or cores(), _MOST_THREADS)


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool that cancels pending tasks on an error or an interrupt by the user."""
    pool = ThreadPoolExecutor(threads())
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


Subset = tuple[str, ...]

_MOST_CELLS = 32**3  # joint cells of a table: more would be empty, and would not fit into memory
_LEADING = 8  # leading components of each modality for the networks on few directions
_MANY_RECORDS = 5000  # records from which one large network per fold is enough
_CLUSTERS = (8, 32)  # number of clusters whose memberships networks read: with few records, with many


Fit = Callable[[], Expert]
Family = Callable[["Features", Subset, np.ndarray, Folds], list[Fit]]


@dataclass(frozen=True)
class Features:
    """Inputs of the experts: each modality's components, all its columns, and soft clusters, found once."""

    blocks: Mapping[str, Array]
    columns: Mapping[str, Array]
    seed: int
    _memberships: dict[tuple[str, int], Array] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def of(self, subset: Subset) -> tuple[Array, ...]:
        return tuple(self.blocks[name] for name in subset)

    def columns_of(self, subset: Subset) -> tuple[Array, ...]:
        """Return the columns of each modality if they are known, otherwise its components."""
        return tuple(self.columns.get(name, self.blocks[name]) for name in subset)

    def clusters(self, subset: Subset, count: int) -> tuple[Array, ...]:
        """Return the cluster memberships for each modality, (records, count)."""
        with self._lock:
            for name in subset:
                if (name, count) not in self._memberships:
                    self._memberships[name, count] = memberships(self.blocks[name], count, self.seed)
        return tuple(self._memberships[name, count] for name in subset)

    def with_clusters(self, subset: Subset, count: int) -> tuple[Array, ...]:
        """Return components and cluster memberships, which make effects of cluster pairs easier to learn."""
        pairs = zip(self.of(subset), self.clusters(subset, count), strict=True)
        return tuple(np.concatenate([block, members * count**0.5], axis=1) for block, members in pairs)


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
        logs = [log_softmax(expert.logits(chosen), axis=1) for expert in self.experts]
        logs += [part.paired(rows) for part in self.parts]
        return self.stack.combine(logs, chosen)


def all_subsets(names: Sequence[str]) -> list[Subset]:
    """Return every non-empty subset, smaller ones first.

    Example:
        >>> all_subsets(["a", "b"])
        [('a',), ('b',), ('a', 'b')]
    """
    return [subset for size in range(1, len(names) + 1) for subset in combinations(names, size)]


def fit_posteriors(
    blocks: Mapping[str, Array],
    subsets: Sequence[Subset],
    labels: np.ndarray,
    folds: Folds,
    family: Family,
    seed: int = 0,
    tell: Callable[[str], None] = lambda what: None,
    columns: Mapping[str, Array] | None = None,
    smaller: Mapping[Subset, Posterior] | None = None,
) -> dict[Subset, Posterior]:
    """Fit the posteriors of all subsets, smaller ones first, as a larger one builds on those inside it.

    All experts of a family are fitted in parallel, on all cores. `smaller` holds posteriors fitted before.
    """
    posteriors: dict[Subset, Posterior] = dict(smaller or {})
    features = Features(blocks, columns or {}, seed)
    with ignore_convergence_warnings(), workers() as pool:
        fits = {
            subset: [pool.submit(fit) for fit in family(features, subset, labels, folds)]
            for subset in subsets
        }
        for subset in subsets:
            tell(f"fitting experts for {' + '.join(subset)}")
            posteriors[subset] = combined(
                subset, [fit.result() for fit in fits[subset]], posteriors, labels, folds
            )
    return posteriors


def combined(
    subset: Subset,
    experts: Sequence[Expert],
    smaller: Mapping[Subset, Posterior],
    labels: np.ndarray,
    folds: Folds,
) -> Posterior:
    """Stack fitted experts and the posteriors of the subsets inside this one into one posterior."""
    parts = [smaller[part] for part in smaller if set(part) < set(subset)]
    rows = folds.identity_rows(len(subset))
    logs = [log_softmax(expert.logits(rows), axis=1) for expert in experts] + [part.log for part in parts]
    stack = fit_stack(logs, labels, folds)
    return Posterior(subset, list(experts), parts, stack, stack.combine(logs, rows))


def linear_family(features: Features, subset: Subset, labels: np.ndarray, folds: Folds) -> list[Fit]:
    """Return the fits of linear probes, with two strengths of penalty."""
    blocks = features.of(subset)
    return [partial(fit_linear, blocks, labels, folds, strength) for strength in LINEAR]


def rich_family(features: Features, subset: Subset, labels: np.ndarray, folds: Folds) -> list[Fit]:
    """Return the fits of linear probes, boosting, small networks and cluster tables of several sizes.

    For combinations there are product models too.
    """
    blocks, seed = features.of(subset), features.seed

    def network_of_clusters(product: bool) -> Expert:
        inputs = features.with_clusters(subset, int(np.clip(len(labels) // 60, *_CLUSTERS)))
        recipe = Recipe(copies=2 if len(labels) < _MANY_RECORDS else 1)
        return fit_networks(inputs, labels, folds, seed, product, recipe)

    def table(clusters: int) -> Expert:
        return fit_table(features.clusters(subset, clusters), labels, folds)

    fits: list[Fit] = _on_columns(features, subset, labels, folds)
    if len(subset) == 2:
        fits += _on_pairs(features, subset, labels, folds)
    if len(subset) == 1:
        fits.append(partial(fit_networks, blocks, labels, folds, seed))
    else:
        # Combinations are easier to find in few directions.
        leading = tuple(block[:, :_LEADING] for block in blocks)
        fits += [partial(network_of_clusters, product) for product in (False, True)]
        fits.append(partial(fit_networks, leading, labels, folds, seed))
    tables = [partial(table, clusters) for clusters in _cluster_counts(len(subset), len(labels))]
    return [*linear_family(features, subset, labels, folds), *fits, *tables]


def _on_columns(features: Features, subset: Subset, labels: np.ndarray, folds: Folds) -> list[Fit]:
    """Return the fit of boosting on the most informative columns, and that of a linear probe on the same ones
    if there are fewer components than columns.
    """
    columns = features.columns_of(subset)
    wide = any(
        part.shape[1] > block.shape[1] for part, block in zip(columns, features.of(subset), strict=True)
    )
    models = [boosting, logistic] if wide else [boosting]
    return [partial(fit_reduced, columns, labels, folds, screened_columns, model) for model in models]


def _on_pairs(features: Features, subset: Subset, labels: np.ndarray, folds: Folds) -> list[Fit]:
    """Return the fits on products of directions: linear probes, boosting, and tanh networks."""
    blocks, seed = features.of(subset), features.seed

    recipe = Recipe(hidden=32, steps=True, copies=int(np.clip(4000 // len(labels), 1, 2)))
    fits: list[Fit] = []
    for rank in (1, 2, 4):
        fits.append(
            partial(fit_networks, blocks, labels, folds, seed, True, recipe, partial(pair_starts, rank=rank))
        )
    for rank, model in ((2, logistic), (6, logistic), (4, boosting)):
        fits.append(partial(fit_reduced, blocks, labels, folds, partial(pair_directions, rank=rank), model))
    return fits


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
