"""Search among millions of vectors through lists of similar ones, with faiss (the extra `search`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from commlearn.errors import ConfigurationError
from commlearn.seeds import numpy_generator

EXTRA = "pip install 'commlearn[search]'"
LISTS, VISITED = 4.0, 0.02  # lists per square root of the vector count; share of the lists visited
FEWEST = 8  # lists that a query visits, at least
EXAMPLES = 50  # vectors per list from which the centres are learned


class Lists:
    """Vectors of length 1 in lists of similar ones; a query searches only the nearest lists.

    Args:
        vectors: (records, dim) float32.
        visited: number of lists that a query searches; more lists find more, but take longer.
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
        """Return positions and cosines of similar vectors, (rows, count) each.

        Positions are -1 where the lists had too few.
        """
        cosines, positions = self.index.search(np.ascontiguousarray(rows, dtype=np.float32), count)
        return positions, cosines


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as problem:
        raise ConfigurationError(
            f"approximate=True needs faiss: {EXTRA}. Exact search needs no extra package."
        ) from problem
    return faiss
