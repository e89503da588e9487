"""Union information for two classes: exact, for any number of modalities, in O(n log n).

Two-class experiments are ordered by their ROC curves. The least informative experiment that is at least as
good as every modality so has the concave envelope of all the ROC curves. Its segments are its outcomes:

    I_u = H(Y) - sum_segments [ -dT log(dT / (dT + dF)) - dF log(dF / (dT + dF)) ]

with dT, dF the mass of the second and the first class on a segment. Everything in here is in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commlearn.information.pid.marginals import Array
from commlearn.information.pid.union_solver import CellSolution, conditional_entropy


@dataclass(frozen=True)
class Envelope:
    """The concave envelope of several ROC curves, in masses instead of rates."""

    # (segments, 2) masses of first and second class, steepest first: the outcomes of the union.
    segments: Array
    owner: NDArray[np.intp]  # the modality whose curve holds the vertex after each segment but the last
    # How many of that modality's rows, the most likely second class first, lie before the vertex.
    taken: NDArray[np.intp]
    orders: list[NDArray[np.intp]]  # per modality, its rows in that order


def solve_two_classes(tables: Sequence[Array]) -> CellSolution:
    """Union information of two-class tables p(x_i, y) with one p(y), every row with some mass.

    The dual is exact too. At every threshold t the envelope is one modality's operating point, so log loss,
    an integral of threshold losses, splits into one term a modality:

        a_i(x, second) = - integral of dt / t       over the thresholds of i at which x is called first
        a_i(x, first)  = - integral of dt / (1 - t) over the thresholds of i at which x is called second
    """
    hull = roc_envelope(tables)
    influence = _threshold_integrals(tables, hull)
    entropy = conditional_entropy(hull.segments)
    value = sum(float((t[t > 0] * a[t > 0]).sum()) for t, a in zip(tables, influence, strict=True))
    return CellSolution(influence, hull.segments, entropy, value)


def roc_envelope(tables: Sequence[Array]) -> Envelope:
    """Upper concave hull of all the ROC vertices."""
    orders = [np.argsort(-table[:, 1] / table.sum(axis=1), kind="stable") for table in tables]
    curves = [np.cumsum(table[order], axis=0) for table, order in zip(tables, orders, strict=True)]
    end = curves[0][-1]
    inner = [curve[:-1] for curve in curves]
    points = np.concatenate([[[0.0, 0.0]], *inner, [end]])
    owner = np.concatenate([[-1], *(np.full(len(c), i) for i, c in enumerate(inner)), [-1]])
    taken = np.concatenate([[0], *(np.arange(1, len(c) + 1) for c in inner), [0]])
    order = np.lexsort((points[:, 1], points[:, 0]))
    order = np.concatenate([[0], order[(order > 0) & (order < len(points) - 1)], [len(points) - 1]])
    hull = order[_upper_hull(np.minimum(points, end)[order])]
    segments = np.maximum(np.diff(np.minimum(points, end)[hull], axis=0), 0.0)
    return Envelope(segments, owner[hull][1:-1], taken[hull][1:-1], orders)


def _upper_hull(points: Array) -> list[int]:
    """Indices of the upper hull of points sorted by their first coordinate, the ends included."""
    first, second = points[:, 0].tolist(), points[:, 1].tolist()
    hull: list[int] = []
    for new in range(len(first)):
        while len(hull) > 1:
            before, last = hull[-2], hull[-1]
            left = (second[last] - second[before]) * (first[new] - first[last])
            right = (second[new] - second[last]) * (first[last] - first[before])
            if left > right:
                break
            hull.pop()
        hull.append(new)
    return hull


def _threshold_integrals(tables: Sequence[Array], hull: Envelope) -> list[Array]:
    """Every vertex is optimal between the posteriors of the segments beside it; sum what that gives a row."""
    total = hull.segments.sum(axis=1)
    with np.errstate(divide="ignore"):
        log_first, log_second = np.log(hull.segments / total[:, None]).T
    influence = []
    for i, (table, order) in enumerate(zip(tables, hull.orders, strict=True)):
        called_second, called_first = np.zeros(len(table) + 1), np.zeros(len(table) + 1)
        mine = np.flatnonzero(hull.owner == i)
        called_second[hull.taken[mine]] += log_first[mine] - log_first[mine + 1]
        called_first[hull.taken[mine]] += log_second[mine + 1] - log_second[mine]
        if i == 0:  # the two ends of the envelope belong to every curve; the first one takes them
            called_first[0] += log_second[0]
            called_second[-1] += log_first[-1]
        ranked = np.empty((len(table), 2))
        ranked[:, 0] = np.cumsum(called_second[::-1])[::-1][1:]  # all vertices after a row call it second
        ranked[:, 1] = np.cumsum(called_first)[:-1]
        part = np.empty_like(ranked)
        part[order] = ranked
        influence.append(part)
    return influence
