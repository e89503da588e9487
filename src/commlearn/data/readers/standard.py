"""Mean 0 and deviation 1 of the training records: the one statistic that the readers learn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Standard", "finite"]


class Standard(NamedTuple):
    """Mean and scale of each feature."""

    mean: np.ndarray  # (features,)
    scale: np.ndarray  # (features,); 1 where a feature never changes

    @classmethod
    def of(cls, rows: np.ndarray) -> Standard:
        """What the rows of training records, (rows, features), teach.

        Example:
            >>> Standard.of(np.array([[0.0, 5.0], [2.0, 5.0]]))(np.array([[2.0, 5.0]])).tolist()
            [[1.0, 0.0]]
        """
        mean, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
        return cls(
            mean.astype(np.float32), np.where(scale > 1e-6 * np.abs(mean), scale, 1.0).astype(np.float32)
        )

    def __call__(self, values: np.ndarray) -> np.ndarray:  # (..., features)
        return ((values - self.mean) / self.scale).astype(np.float32)


def finite(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The values in float32 with 0 where one is infinite or not a number, and how many were.

    Example:
        >>> finite(np.array([1.0, -np.inf]))
        (array([1., 0.], dtype=float32), 1)
    """
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    wrong = ~np.isfinite(values)
    count = int(wrong.sum())
    if count:
        values[wrong] = 0
    return values, count
