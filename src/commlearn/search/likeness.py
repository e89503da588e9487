"""How similar two records are in some modalities: a cosine, and the share of random pairs less similar."""

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

SAMPLE = 1000  # records of a table from which random pairs are taken
PAIRS = 4000  # random pairs, roughly
ALIKE, UNLIKE = (
    0.95,
    0.5,
)  # shares of less similar random pairs from which records are called alike, and below which unlike
SAME = 1e-4  # distance of vectors of length 1 below which records count as copies


@dataclass(frozen=True)
class Likeness:
    """A cosine between the modalities `by` of one record and `modalities` of another, with its calibration.

    If both sides have the same modalities, their embeddings are compared, each dimension standardised.
    Different ones are compared in the space in which training brought them together (`comparable_vectors`).

    Args:
        by: modalities of the query.
        modalities: modalities of the candidates.
        center: mean of the embeddings, (dim,); empty if the modalities differ.
        scale: standard deviation of the embeddings, (dim,); empty if the modalities differ.
        typical: cosines of random pairs, sorted; empty with fewer than two records.
    """

    by: Subset
    modalities: Subset
    center: np.ndarray
    scale: np.ndarray
    typical: np.ndarray

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"{subset_name(self.by)}:{subset_name(self.modalities)}"

    @classmethod
    def learn(cls, model: Any, records: Records, by: Subset, modalities: Subset) -> Likeness:
        """Calibrate on some records of a table, which must be in random order."""
        rows = np.flatnonzero(has_any_modality(records, by) & has_any_modality(records, modalities))
        records = records.choose(rows)
        empty = np.zeros(0)
        likeness = cls(by, modalities, empty, empty, empty)
        if by == modalities and len(rows):
            scaler = StandardScaler().fit(embed(model, records, by))
            likeness = cls(by, modalities, scaler.mean_, scaler.scale_, empty)
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
        """Return the vectors of records as queries, scaled to length 1, (records, dim) float32."""
        return self.normalised(raw_vectors(model, records, self.by, self.by == self.modalities))

    def candidate_vectors(self, model: Any, records: Records) -> np.ndarray:
        """Return the vectors of records as candidates, scaled to length 1, (records, dim) float32."""
        return self.normalised(raw_vectors(model, records, self.modalities, self.by == self.modalities))

    def normalised(self, vectors: np.ndarray) -> np.ndarray:
        """Standardise raw vectors if both sides have the same modalities, and scale them to length 1."""
        if len(self.center):
            vectors = (vectors - self.center) / self.scale
        return unit(vectors).astype(np.float32)

    def above(self, cosines: np.ndarray) -> np.ndarray:
        """Return the share of random pairs that are less similar; NaN without pairs or without a cosine."""
        if not len(self.typical):
            return np.full(len(cosines), np.nan)
        shares = np.searchsorted(self.typical, cosines) / len(self.typical)
        return np.where(np.isnan(cosines), np.nan, shares)


def raw_vectors(model: Any, records: Records, names: Subset, same: bool) -> np.ndarray:
    """Return vectors to compare with those of the same modalities, or of other ones, (records, dim)."""
    return embed(model, records, names) if same else comparable_vectors(model, records, names)


def has_any_modality(records: Records, names: Sequence[str]) -> np.ndarray:
    """Return which records have at least one of these modalities, (records,) bool."""
    return np.any([presence(records.columns[name]) for name in names], axis=0)


def in_words(above: dict[str, float]) -> str:
    """Say in words in which modalities two records are alike, and in which they are not.

    Args:
        above: share of random pairs that are less similar, by modality.

    Example:
        >>> in_words({"plot": 0.999, "poster": 0.3, "cast": 0.7, "year": float("nan")})
        'alike in plot; unlike in poster'
        >>> in_words({"plot": 0.9})
        'slightly alike in plot'
        >>> in_words({"plot": float("nan")})
        'nothing to compare'
    """
    names = [name for name, share in above.items() if share == share]
    alike = sorted((name for name in names if above[name] >= ALIKE), key=lambda name: -above[name])
    unlike = [name for name in names if above[name] < UNLIKE]
    parts = [f"alike in {', '.join(alike)}"] if alike else []
    if not alike and (best := max(names, key=lambda name: above[name], default=None)) not in (None, *unlike):
        parts = [f"slightly alike in {best}"]
    parts += [f"unlike in {', '.join(unlike)}"] if unlike else []
    return "; ".join(parts) or "nothing to compare"
