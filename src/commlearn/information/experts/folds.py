"""Folds of held-out records, and experts that are fitted without each fold, in the simplest case linear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from commlearn.information.pid.marginals import Array

Rows: TypeAlias = Sequence[np.ndarray]  # per modality, the record that each record takes its values from


@dataclass(frozen=True)
class Folds:
    """The fold in which each record is held out, and the groups, 0, 1, ..., that no fold divides."""

    of: np.ndarray  # (records,)
    count: int
    groups: np.ndarray | None = None

    def members(self, rows: Rows) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the positions of each fold's records; all modalities of a record must come from one fold."""
        fold_of = self.of[rows[0]]
        for fold in range(self.count):
            yield fold, np.flatnonzero(fold_of == fold)

    def training(self) -> list[np.ndarray]:
        """Return which records each fold's experts learn from, (records,) bool each."""
        return [self.of != fold for fold in range(self.count)]

    def unlearnable_classes(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes that some fold's experts cannot learn, having no training records of them."""
        counts = [np.bincount(labels[train], minlength=labels.max() + 1) for train in self.training()]
        return np.flatnonzero(np.min(counts, axis=0) == 0)

    def identity_rows(self, modalities: int) -> Rows:
        """Return the rows that give every record its own values."""
        return [np.arange(len(self.of))] * modalities


def make_folds(labels: np.ndarray, groups: np.ndarray | None, count: int, seed: int) -> Folds:
    """Make folds with all classes in each, as far as keeping groups whole allows."""
    fold_of = np.zeros(len(labels), dtype=np.intp)
    if groups is None:
        parts = StratifiedKFold(count, shuffle=True, random_state=seed).split(labels, labels)
    else:
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        parts = splitter.split(labels, labels, groups)
    for fold, (_, held) in enumerate(parts):
        fold_of[held] = fold
    return Folds(fold_of, count, groups)


@dataclass(frozen=True)
class Expert:
    """Models fitted on all folds but one, for each fold left out; they accept any pairing of modalities."""

    blocks: Sequence[Array]  # features of each modality
    folds: Folds
    fitted: Sequence[Callable[[list[Array]], Array]]  # per fold: maps each modality's features to logits

    def logits(self, rows: Rows) -> Array:
        """Return the logits of each record from the model fitted without its fold, (records, classes)."""
        members = list(self.folds.members(rows))
        parts = [
            self.fitted[fold]([block[row[positions]] for block, row in zip(self.blocks, rows, strict=True)])
            for fold, positions in members
        ]
        logits = np.empty((len(rows[0]), parts[0].shape[1]))
        for (_, positions), part in zip(members, parts, strict=True):
            logits[positions] = part
        return logits


LINEAR = (0.01, 1.0)  # inverse penalties of the linear family


def fit_linear(blocks: Sequence[Array], labels: np.ndarray, folds: Folds, strength: float) -> Expert:
    """Fit a logistic regression on all folds but one, for each fold left out."""
    features = np.concatenate(blocks, axis=1)
    return Expert(blocks, folds, [_fit(features[t], labels[t], strength) for t in folds.training()])


def _fit(features: Array, labels: np.ndarray, strength: float) -> Callable[[list[Array]], Array]:
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(features, labels)
    weights, offsets = model.coef_.T, model.intercept_
    if len(offsets) == 1:  # with two classes, the model has only the log odds of the second
        weights, offsets = np.hstack([np.zeros_like(weights), weights]), np.append(0.0, offsets)
    weights = np.ascontiguousarray(weights)
    return lambda parts: np.concatenate(parts, axis=1) @ weights + offsets
