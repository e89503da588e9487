"""Exact search for the most similar rows by cosine, block by block, for probes, reports and search."""

from __future__ import annotations

import numpy as np

CELLS = 1 << 24  # products in memory at once

Apart = tuple[np.ndarray, np.ndarray]


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1, so that their products are cosines; rows of zeros stay zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def nearest(
    rows: np.ndarray, among: np.ndarray, count: int, apart: Apart | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and cosines of the most similar rows, (rows, count) each, the most similar first.

    Args:
        rows: queries, scaled to length 1.
        among: candidates, scaled to length 1; ties go to the earlier row.
        count: number of rows to find; all if there are fewer.
        apart: units of `rows` and of `among`; a row does not find candidates of its own unit.

    Example:
        >>> positions, cosines = nearest(np.eye(2), np.array([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]]), 2)
        >>> positions.tolist(), cosines.tolist()
        ([[2, 1], [0, 1]], [[1.0, 0.6], [1.0, 0.8]])
    """
    available = len(among)
    if apart is not None:
        available -= int(np.unique(apart[1], return_counts=True)[1].max(initial=0))
    count = min(count, available)
    positions = np.zeros((len(rows), count), dtype=np.int64)
    cosines = np.zeros((len(rows), count), dtype=np.result_type(rows, among))
    if not count:
        return positions, cosines
    block = int(np.clip(CELLS // len(among), 1, 1024))
    for start in range(0, len(rows), block):
        similar = rows[start : start + block] @ among.T  # (block, among)
        if apart is not None:
            similar[apart[0][start : start + block, None] == apart[1]] = -np.inf
        similar[np.isnan(similar)] = -np.inf  # from a network that diverged
        lowest = np.partition(similar, len(among) - count, axis=1)[:, len(among) - count]
        for row, (of_row, least) in enumerate(zip(similar, lowest, strict=True), start):
            candidates = np.flatnonzero(of_row >= least)
            positions[row] = candidates[np.argsort(-of_row[candidates], kind="stable")[:count]]
            cosines[row] = of_row[positions[row]]
    return positions, cosines
