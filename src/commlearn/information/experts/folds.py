"""Who is held out when: folds with every class in each, and no group in two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
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


def side_by_side(blocks: Sequence[Array], rows: Rows) -> Array:
    """Features of each modality, taken from its rows, joined."""
    return np.concatenate([block[row] for block, row in zip(blocks, rows, strict=True)], axis=1)
