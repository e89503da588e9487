"""Who is held out when, and what an expert is: fitted without each fold, in the simplest case linearly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from commlearn.information.pid.marginals import Array

Rows: TypeAlias = Sequence[np.ndarray]  # for each modality, whose values a record shows


@dataclass(frozen=True)
class Folds:
    """The fold in which each record is held out, and the groups, 0, 1, ..., that no fold parts."""

    of: np.ndarray  # (records,)
    count: int
    groups: np.ndarray | None = None

    def members(self, rows: Rows) -> Iterator[tuple[int, np.ndarray]]:
        """Positions of each fold's records; modalities of one record must be of one fold."""
        of = self.of[rows[0]]
        for fold in range(self.count):
            yield fold, np.flatnonzero(of == fold)

    def training(self) -> list[np.ndarray]:
        """Which records each fold's experts learn from, (records,) bool each."""
        return [self.of != fold for fold in range(self.count)]

    def unlearned(self, labels: np.ndarray) -> np.ndarray:
        """Classes that some fold's experts cannot learn, as no record of theirs is left to learn from."""
        counts = [np.bincount(labels[train], minlength=labels.max() + 1) for train in self.training()]
        return np.flatnonzero(np.min(counts, axis=0) == 0)

    def own_rows(self, modalities: int) -> Rows:
        """Every record with its own values."""
        return [np.arange(len(self.of))] * modalities


def make_folds(labels: np.ndarray, groups: np.ndarray | None, count: int, seed: int) -> Folds:
    """Folds with all classes in each, as far as whole groups allow it."""
    of = np.zeros(len(labels), dtype=np.intp)
    if groups is None:
        parts = StratifiedKFold(count, shuffle=True, random_state=seed).split(labels, labels)
    else:
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        parts = splitter.split(labels, labels, groups)
    for fold, (_, held) in enumerate(parts):
        of[held] = fold
    return Folds(of, count, groups)


@dataclass(frozen=True)
class Expert:
    """Fitted on all folds but one, for each one left out; reads any pairing of modalities."""

    blocks: Sequence[Array]  # features of each modality
    folds: Folds
    fitted: Sequence[Callable[[list[Array]], Array]]  # by fold: features of each modality to logits

    def logits(self, rows: Rows) -> Array:
        """Of each record by what was fitted without its fold, (records, classes)."""
        members = list(self.folds.members(rows))
        parts = [
            self.fitted[fold]([block[row[mine]] for block, row in zip(self.blocks, rows, strict=True)])
            for fold, mine in members
        ]
        logits = np.empty((len(rows[0]), parts[0].shape[1]))
        for (_, mine), part in zip(members, parts, strict=True):
            logits[mine] = part
        return logits


LINEAR = (0.01, 1.0)  # inverse penalties of the linear family


def fit_linear(blocks: Sequence[Array], labels: np.ndarray, folds: Folds, strength: float) -> Expert:
    """Fit on all folds but one, for each one left out."""
    features = np.concatenate(blocks, axis=1)
    return Expert(blocks, folds, [_fit(features[t], labels[t], strength) for t in folds.training()])


def _fit(features: Array, labels: np.ndarray, strength: float) -> Callable[[list[Array]], Array]:
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(features, labels)
    weights, offsets = model.coef_.T, model.intercept_
    if len(offsets) == 1:  # of two classes the log odds of the second
        weights, offsets = np.hstack([np.zeros_like(weights), weights]), np.append(0.0, offsets)
    weights = np.ascontiguousarray(weights)
    return lambda parts: np.concatenate(parts, axis=1) @ weights + offsets
