"""Held-out posteriors p(y | A) of every subset A of modalities, from experts of several kinds, stacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from commlearn.evaluation.interactions.cluster_tables import fit_table, memberships
from commlearn.evaluation.interactions.folds import Folds, Rows
from commlearn.evaluation.interactions.linear import fit_linear
from commlearn.evaluation.interactions.networks import fit_networks
from commlearn.evaluation.interactions.stacking import Stack, fit_stack, log_softmax
from commlearn.evaluation.marginals import Array

__all__ = ["Posterior", "Subset", "all_subsets", "fit_posteriors", "linear_family", "rich_family"]

Subset = tuple[str, ...]

_FEW = 8  # leading components of each modality
_MARKS = (8, 32)  # clusters that networks are told of, from few records to many


class Expert(Protocol):
    """Fitted on all folds but one, for each one left out; reads any pairing of modalities."""

    def logits(self, rows: Rows) -> Array: ...


Family = Callable[[Mapping[str, Array], Subset, np.ndarray, Folds, int], list[Expert]]


@dataclass(frozen=True)
class Posterior:
    """What a subset of modalities says about the target of a record that was not learned from."""

    subset: Subset
    experts: list[Expert]
    parts: list[Posterior]  # of smaller subsets
    stack: Stack
    log: Array  # (records, classes): of every record as it is, natural logarithms

    def paired(self, rows: Mapping[str, np.ndarray]) -> Array:
        """log p(y | A) with each modality taken from the record that `rows` says, within folds."""
        chosen = [rows[name] for name in self.subset]
        said = [log_softmax(expert.logits(chosen)) for expert in self.experts]
        said += [part.paired(rows) for part in self.parts]
        return self.stack.combine(said, chosen)


def all_subsets(names: Sequence[str]) -> list[Subset]:
    """Every non-empty subset, smaller ones first.

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
    told: Callable[[str], None] = lambda what: None,
) -> dict[Subset, Posterior]:
    """Posteriors of all subsets, smaller ones first: a larger one builds on those inside it.

    Args:
        blocks: features of each modality.
        subsets: in the order in which they are fitted.
        labels: 0, ..., classes - 1.
        folds: who is held out when.
        family: makes the experts of one subset.
        seed: of all that is random.
        told: hears which subset is being fitted.
    """
    found: dict[Subset, Posterior] = {}
    own = np.arange(len(labels))
    for subset in subsets:
        told(" + ".join(subset))
        experts = family(blocks, subset, labels, folds, seed)
        parts = [found[part] for part in found if set(part) < set(subset)]
        rows = [own] * len(subset)
        said = [log_softmax(expert.logits(rows)) for expert in experts] + [part.log for part in parts]
        start = np.full(len(said), 1.0 / len(said))
        stack = fit_stack(said, start, labels, folds)
        found[subset] = Posterior(subset, experts, parts, stack, stack.combine(said, rows))
    return found


def linear_family(
    blocks: Mapping[str, Array], subset: Subset, labels: np.ndarray, folds: Folds, seed: int
) -> list[Expert]:
    """What a linear probe can use: two strengths of penalty."""
    chosen = tuple(blocks[name] for name in subset)
    return [fit_linear(chosen, labels, folds, strength) for strength in (0.01, 1.0)]


def rich_family(
    blocks: Mapping[str, Array], subset: Subset, labels: np.ndarray, folds: Folds, seed: int
) -> list[Expert]:
    """Linear probes, small networks and cluster tables of several sizes; for combinations also products."""
    chosen = tuple(blocks[name] for name in subset)
    experts = linear_family(blocks, subset, labels, folds, seed)
    if len(subset) == 1:
        experts.append(fit_networks(chosen, labels, folds, seed))
    else:
        marked = tuple(_with_clusters(block, len(labels), seed) for block in chosen)
        experts.append(fit_networks(marked, labels, folds, seed))
        experts.append(fit_networks(marked, labels, folds, seed, product=True))
        few = tuple(block[:, :_FEW] for block in chosen)  # few directions: combinations are easier found
        experts.append(fit_networks(few, labels, folds, seed))
    for clusters in _cluster_counts(len(subset), len(labels)):
        members = tuple(memberships(block, clusters, seed) for block in chosen)
        experts.append(fit_table(members, labels, folds))
    return experts


def _with_clusters(block: Array, records: int, seed: int) -> Array:
    """Components and the clusters that a record is in: what holds for pairs of groups is easier learned."""
    clusters = int(np.clip(records // 60, *_MARKS))
    members = memberships(block, clusters, seed)
    return np.concatenate([block, members * clusters**0.5], axis=1)


def _cluster_counts(modalities: int, records: int) -> list[int]:
    """Sizes of the tables: coarse ones, a fine one of about five records a joint cell, one between."""
    fine = int(np.clip((records / 5) ** (1 / modalities), 4, 32)) if modalities > 1 else 32
    coarse = {2, 3, 4} if modalities > 1 else {4}
    return sorted({*coarse, round((4 * fine) ** 0.5), fine})
