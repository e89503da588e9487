"""Search among millions through lists of similar vectors, by faiss (the extra `search`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from commlearn.errors import ConfigurationError
from commlearn.seeds import numpy_generator

EXTRA = "pip install 'commlearn[search]'"
LISTS, VISITED = 4.0, 0.02  # lists: times the root of the vectors; the share of them that a query visits
FEWEST = 8  # lists visited at least
EXAMPLES = 50  # vectors a list from which its middle is learned


class Lists:
    """Vectors of length 1 in lists of similar ones; a query looks into the nearest lists only.

    Args:
        vectors: (records, dim) float32.
        visited: lists that a query looks into; more find more, and take longer.
    """

    def __init__(self, vectors: np.ndarray, visited: int | None = None) -> None:
        faiss = _faiss()
        count = max(1, min(int(LISTS * math.sqrt(len(vectors))), len(vectors) // 40))
        self.visited = visited or max(FEWEST, int(VISITED * count))
        self.index = faiss.index_factory(vectors.shape[1], f"IVF{count},Flat", faiss.METRIC_INNER_PRODUCT)
        examples = numpy_generator(0, "lists").permutation(len(vectors))[: EXAMPLES * count]
        self.index.train(np.ascontiguousarray(vectors[np.sort(examples)]))
        self.index.add(np.ascontiguousarray(vectors))
        self.index.nprobe = self.visited

    def nearest(self, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and cosines of similar vectors, (rows, count) each; -1 where the lists held too few."""
        cosines, positions = self.index.search(np.ascontiguousarray(rows, dtype=np.float32), count)
        return positions, cosines


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as problem:
        raise ConfigurationError(
            f"approximate=True needs faiss: {EXTRA}. Exact search needs nothing."
        ) from problem
    return faiss
