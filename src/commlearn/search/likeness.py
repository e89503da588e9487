"""How alike two records are by some modalities: a cosine, and what share of random pairs is less alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from commlearn.batch import Subset, subset_name
from commlearn.kinds.arrays import presence
from commlearn.probes.nearest import unit
from commlearn.probes.retrieval import comparable_vectors
from commlearn.records import Records
from commlearn.trained.embed import embed

SAMPLE = 1000  # records of a table that say how alike random pairs are
PAIRS = 4000  # of them, roughly
ALIKE, UNLIKE = (
    0.95,
    0.5,
)  # shares of random pairs that are less alike, from which and below which words say so
SAME = 1e-4  # distance of vectors of length 1 below which a model tells no difference


@dataclass(frozen=True)
class Likeness:
    """A cosine between the modalities `by` of one record and `modalities` of another, with its calibration.

    The same modalities on both sides are compared as the model embeds them, each dimension standardised;
    different ones in the space in which the training brought them together (see `comparable_vectors`).

    Args:
        by: modalities of the query.
        modalities: of the candidates.
        center: mean of the embeddings, (dim,); nothing where modalities differ.
        scale: their deviation, likewise.
        typical: cosines of random pairs, sorted; nothing where there are no two records.
    """

    by: Subset
    modalities: Subset
    center: np.ndarray
    scale: np.ndarray
    typical: np.ndarray

    @property
    def name(self) -> str:
        """How it is called in files."""
        return f"{subset_name(self.by)}:{subset_name(self.modalities)}"

    @classmethod
    def learn(cls, model: Any, records: Records, by: Subset, modalities: Subset) -> Likeness:
        """From some records of a table, in random order."""
        rows = np.flatnonzero(having(records, by) & having(records, modalities))
        records = records.choose(rows)
        nothing = np.zeros(0)
        likeness = cls(by, modalities, nothing, nothing, nothing)
        if by == modalities and len(rows):
            scaler = StandardScaler().fit(embed(model, records, by))
            likeness = cls(by, modalities, scaler.mean_, scaler.scale_, nothing)
        if len(rows) < 2:
            return likeness
        queries, candidates = (
            likeness.query_vectors(model, records),
            likeness.candidate_vectors(model, records),
        )
        shifts = range(1, min(len(rows), 1 + -(-PAIRS // len(rows))))
        cosines = [(queries * np.roll(candidates, shift, axis=0)).sum(axis=1) for shift in shifts]
        return cls(by, modalities, likeness.center, likeness.scale, np.sort(np.concatenate(cosines)))

    def query_vectors(self, model: Any, records: Records) -> np.ndarray:
        """Vectors of length 1 of records that are searched by, (records, dim) float32."""
        return self.laid_out(raw_vectors(model, records, self.by, self.by == self.modalities))

    def candidate_vectors(self, model: Any, records: Records) -> np.ndarray:
        """Vectors of length 1 of records that may be hits, (records, dim) float32."""
        return self.laid_out(raw_vectors(model, records, self.modalities, self.by == self.modalities))

    def laid_out(self, vectors: np.ndarray) -> np.ndarray:
        """Raw vectors standardised and brought to length 1."""
        if len(self.center):
            vectors = (vectors - self.center) / self.scale
        return unit(vectors).astype(np.float32)

    def above(self, cosines: np.ndarray) -> np.ndarray:
        """The share of random pairs that are less alike; NaN where there is none, or no cosine."""
        if not len(self.typical):
            return np.full(len(cosines), np.nan)
        shares = np.searchsorted(self.typical, cosines) / len(self.typical)
        return np.where(np.isnan(cosines), np.nan, shares)


def raw_vectors(model: Any, records: Records, names: Subset, same: bool) -> np.ndarray:
    """Vectors to be compared with those of the same modalities, or with those of others, (records, dim)."""
    return embed(model, records, names) if same else comparable_vectors(model, records, names)


def having(records: Records, names: Sequence[str]) -> np.ndarray:
    """Which records have one of these modalities at least, (records,) bool."""
    return np.any([presence(records.columns[name]) for name in names], axis=0)


def in_words(above: dict[str, float]) -> str:
    """Which modalities say that two records are alike, and which say that they are not.

    Args:
        above: by modality the share of random pairs that are less alike.

    Example:
        >>> in_words({"plot": 0.999, "poster": 0.3, "cast": 0.7, "year": float("nan")})
        'alike in plot; unlike in poster'
        >>> in_words({"plot": 0.9})
        'a little alike in plot'
        >>> in_words({"plot": float("nan")})
        'nothing to compare'
    """
    named = [name for name, share in above.items() if share == share]
    alike = sorted((name for name in named if above[name] >= ALIKE), key=lambda name: -above[name])
    unlike = [name for name in named if above[name] < UNLIKE]
    parts = [f"alike in {', '.join(alike)}"] if alike else []
    if not alike and (best := max(named, key=lambda name: above[name], default=None)) not in (None, *unlike):
        parts = [f"a little alike in {best}"]
    parts += [f"unlike in {', '.join(unlike)}"] if unlike else []
    return "; ".join(parts) or "nothing to compare"
