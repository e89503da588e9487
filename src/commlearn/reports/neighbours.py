"""Nearest neighbours of a few records, by each subset of modalities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from commlearn.kinds.rows import spread
from commlearn.probes.ladder import Embedded
from commlearn.probes.nearest import nearest, unit

__all__ = ["nearest_records"]

ASKED, NEAREST = 4, 5  # records that are asked for, neighbours of each


def nearest_records(
    embedded: Mapping[str, Embedded], rows: np.ndarray, asked: int = ASKED, count: int = NEAREST
) -> dict[str, dict[int, list[int]]]:
    """By subset, then by record: the positions in `rows` whose embeddings have the smallest angle to its own.

    Records that a subset cannot embed have no neighbours there and are none.
    """
    chosen = list(spread(len(rows), asked))[:asked]
    neighbours_by_subset: dict[str, dict[int, list[int]]] = {}
    for name, part in embedded.items():
        place = {row: position for position, row in enumerate(part.rows.tolist())}
        there = np.array([record for record, row in enumerate(rows.tolist()) if row in place], dtype=np.int64)
        vectors = part.vectors[[place[row] for row in rows[there].tolist()]]
        asking = np.flatnonzero(np.isin(there, chosen))
        units, each = unit(vectors), np.arange(len(there))
        others, _ = nearest(units[asking], units, count, apart=(each[asking], each))
        neighbours_by_subset[name] = dict(zip(there[asking].tolist(), there[others].tolist(), strict=True))
    return neighbours_by_subset
