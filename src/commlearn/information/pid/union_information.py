"""Union information: what several modalities say about a target if only their own p(x_i, y) counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commlearn.errors import DataError
from commlearn.information.pid.column_generation import (
    all_cells,
    possible_cells,
    price_nearby,
    solve_by_columns,
)
from commlearn.information.pid.marginals import (
    Array,
    checked_marginals,
    entropy,
    information,
    log_posterior,
    reduce_marginals,
    spread_influence,
)
from commlearn.information.pid.union_solver import CellSolution, conditional_entropy, solve_on_cells


@dataclass(frozen=True)
class Envelope:
    """The concave envelope of several ROC curves, in masses instead of rates."""

    # (segments, 2) masses of first and second class, steepest first: the outcomes of the union.
    segments: Array
    owner: NDArray[np.intp]  # modality whose curve has the vertex after each segment, except the last one
    # Number of that modality's rows before the vertex, those most likely of the second class first.
    taken: NDArray[np.intp]
    orders: list[NDArray[np.intp]]  # per modality, its rows in that order


def solve_two_classes(tables: Sequence[Array]) -> CellSolution:
    """Solve two-class tables p(x_i, y), in which every row has some mass: exactly, in O(n log n), in nats.

    Two-class experiments are ordered by their ROC curves. So the least informative experiment that is at
    least as good as each of them has the concave envelope of all ROC curves. Its segments are its outcomes:

        I_u = H(Y) - sum_segments [ -dT log(dT / (dT + dF)) - dF log(dF / (dT + dF)) ]

    with dT, dF the mass of the second and the first class on a segment.

    The dual is exact too. At every threshold t the envelope is one modality's operating point, so log loss,
    an integral of threshold losses, splits into one term per modality:

        a_i(x, second) = - integral of dt / t       over the thresholds of i at which x is called first
        a_i(x, first)  = - integral of dt / (1 - t) over the thresholds of i at which x is called second
    """
    hull = roc_envelope(tables)
    influence = _threshold_integrals(tables, hull)
    entropy = conditional_entropy(hull.segments)
    value = sum(float((t[t > 0] * a[t > 0]).sum()) for t, a in zip(tables, influence, strict=True))
    return CellSolution(influence, hull.segments, entropy, value)


def roc_envelope(tables: Sequence[Array]) -> Envelope:
    """Return the upper concave hull of the vertices of all ROC curves."""
    orders = [np.argsort(-table[:, 1] / table.sum(axis=1), kind="stable") for table in tables]
    curves = [np.cumsum(table[order], axis=0) for table, order in zip(tables, orders, strict=True)]
    end = curves[0][-1]
    inner = [curve[:-1] for curve in curves]
    points = np.concatenate([[[0.0, 0.0]], *inner, [end]])
    owner = np.concatenate([[-1], *(np.full(len(c), i) for i, c in enumerate(inner)), [-1]])
    counts = np.concatenate([[0], *(np.arange(1, len(c) + 1) for c in inner), [0]])
    order = np.lexsort((points[:, 1], points[:, 0]))
    order = np.concatenate([[0], order[(order > 0) & (order < len(points) - 1)], [len(points) - 1]])
    hull = order[_upper_hull(np.minimum(points, end)[order])]
    segments = np.maximum(np.diff(np.minimum(points, end)[hull], axis=0), 0.0)
    return Envelope(segments, owner[hull][1:-1], counts[hull][1:-1], orders)


def _upper_hull(points: Array) -> list[int]:
    """Return the indices of the upper hull of points sorted by their first coordinate, including the ends."""
    first, second = points[:, 0].tolist(), points[:, 1].tolist()
    hull: list[int] = []
    for point in range(len(first)):
        while len(hull) > 1:
            previous, last = hull[-2], hull[-1]
            left = (second[last] - second[previous]) * (first[point] - first[last])
            right = (second[point] - second[last]) * (first[last] - first[previous])
            if left > right:
                break
            hull.pop()
        hull.append(point)
    return hull


def _threshold_integrals(tables: Sequence[Array], hull: Envelope) -> list[Array]:
    """Return the influence functions, as sums over vertices of what each vertex contributes to a row.

    A vertex is optimal for thresholds between the posteriors of the two segments that meet in it.
    """
    total = hull.segments.sum(axis=1)
    with np.errstate(divide="ignore"):
        log_first, log_second = np.log(hull.segments / total[:, None]).T
    influence = []
    for i, (table, order) in enumerate(zip(tables, hull.orders, strict=True)):
        called_second, called_first = np.zeros(len(table) + 1), np.zeros(len(table) + 1)
        vertices = np.flatnonzero(hull.owner == i)
        called_second[hull.taken[vertices]] += log_first[vertices] - log_first[vertices + 1]
        called_first[hull.taken[vertices]] += log_second[vertices + 1] - log_second[vertices]
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


_DIRECT = 1_000_000  # cells times squared classes up to which all joint cells are listed
_PRICED = 100_000_000  # joint cells up to which all of them are priced
_COORDINATES = 8_000  # influence values up to which the normal equations are factored


@dataclass(frozen=True)
class UnionInformation:
    """Bounds on the union information, in bits, and the influence functions that attain the lower one.

    Attributes:
        lower: a rigorous bound, from feasible influence functions.
        upper: a rigorous bound, from a feasible coupling.
        influence: a_i(x_i, y) per modality, in bits and finite; H(Y) + sum_i E[a_i(x_i, y)] is ``lower`` and
            u(x, y) = sum_i a_i(x_i, y) - log2 p(y) is one record's share of it.
    """

    lower: float
    upper: float
    influence: tuple[Array, ...]

    @property
    def gap(self) -> float:
        """upper - lower: the certificate."""
        return self.upper - self.lower


def union_information(marginals: Sequence[ArrayLike], tolerance: float = 1e-6) -> UnionInformation:
    """Bound the least information about the target that a joint distribution with these marginals can have.

        I_u = min over q with q(x_i, y) = p(x_i, y) for all i of I_q(Y; X_1, ..., X_n)
            = H(Y) + max_a E[sum_i a_i(x_i, Y)]   subject to   sum_y 2^(sum_i a_i(x_i, y)) <= 1 at every x

    Two classes are solved exactly (concave envelope of ROC curves), more by an interior-point method, on all
    joint cells or, if there are many, on a growing list of them. Both bounds are rigorous however it ends.
    Beyond 1e8 joint cells of distinct posteriors (say, seven modalities with twenty cells each) the bounds
    differ: the lower one is then the union of the most informative modalities that fit, and the upper one
    comes from the best coupling that a local search finds.

    Args:
        marginals: p(x_i, y) per modality, (values of x_i, classes); p(y) must agree among them.
        tolerance: the gap to reach, in bits; the solver stops there.

    Returns:
        The bounds and the influence functions.

    Raises:
        DataError: a marginal is not a distribution, the marginals differ in p(y), or there are so many cells
            and classes that the equations do not fit into memory.

    Example:
        >>> import numpy as np
        >>> bit = np.eye(2) / 2
        >>> bounds = union_information([bit, bit])
        >>> round(bounds.lower, 4), round(bounds.upper, 4)
        (1.0, 1.0)
    """
    tables = checked_marginals(marginals)
    reduced = reduce_marginals(tables)
    solution = _solve(reduced.tables, tolerance * float(np.log(2)))
    influence, rise = spread_influence(reduced, solution.influence, tables[0].shape[1])
    influence[0] = influence[0] - rise
    label_entropy = entropy(tables[0].sum(axis=0))
    value = sum(float((table * part).sum()) for table, part in zip(tables, influence, strict=True))
    upper = max(label_entropy - solution.entropy, 0.0)
    lower = min(max(label_entropy + value, 0.0), upper)
    bits = float(np.log(2))
    return UnionInformation(lower / bits, upper / bits, tuple(part / bits for part in influence))


def _solve(tables: Sequence[Array], tolerance: float) -> CellSolution:
    """Leave out uninformative modalities, then choose the method and solve."""
    informative = [i for i, table in enumerate(tables) if len(table) > 1]
    solution = _solve_informative([tables[i] for i in informative] or [tables[0]], tolerance)
    influence = [np.zeros_like(table) for table in tables]
    for i, part in zip(informative or [0], solution.influence, strict=True):
        influence[i] = part
    best = _single(tables, int(np.argmax([information(table) for table in tables])))  # a lower bound too
    if best.value > solution.value:
        return CellSolution(best.influence, solution.coupling, solution.entropy, best.value)
    return CellSolution(influence, solution.coupling, solution.entropy, solution.value)


def _solve_informative(tables: Sequence[Array], tolerance: float) -> CellSolution:
    if len(tables) == 1:
        return _single(tables, 0)
    if tables[0].shape[1] == 2:
        return solve_two_classes(tables)
    sizes = [len(table) for table in tables]
    _check_size(sizes, tables[0].shape[1])
    if np.prod(sizes, dtype=float) * tables[0].shape[1] ** 2 <= _DIRECT:
        return solve_on_cells(tables, possible_cells(tables, all_cells(sizes)), tolerance)
    if len(sizes) == 2 or np.prod(sizes, dtype=float) <= _PRICED:
        return solve_by_columns(tables, tolerance)
    return _solve_unpriced(tables, tolerance)


def _single(tables: Sequence[Array], i: int) -> CellSolution:
    """Return the posteriors of one modality: a feasible dual for all, the optimum if it is the only one."""
    influence = [np.zeros_like(table) for table in tables]
    influence[i] = log_posterior(tables[i])
    uncertainty = entropy(tables[i].ravel()) - entropy(tables[i].sum(axis=1))
    return CellSolution(influence, tables[i], uncertainty, -uncertainty)


def _check_size(sizes: Sequence[int], classes: int) -> None:
    if sum(sizes) * classes > _COORDINATES:
        raise DataError(
            f"The marginals have {sum(sizes)} rows with distinct posteriors and {classes} classes, "
            f"{sum(sizes) * classes} unknowns; the limit is {_COORDINATES}. Quantise the posteriors more "
            "coarsely or merge classes."
        )


def _solve_unpriced(tables: Sequence[Array], tolerance: float) -> CellSolution:
    """Bound the union without looking at all joint cells; the gap is what the left-out modalities may add.

    The most informative modalities whose joint cells can be priced give the influence functions; a list of
    cells that grows by local search gives a coupling of all modalities.
    """
    order = np.argsort([-information(table) for table in tables], kind="stable")
    head = order[np.cumprod([float(len(tables[i])) for i in order]) <= _PRICED]
    bound_solution = _solve_informative([tables[i] for i in head], tolerance)
    influence = [np.zeros_like(table) for table in tables]
    for i, part in zip(head, bound_solution.influence, strict=True):
        influence[i] = part
    search_solution = solve_by_columns(tables, tolerance, pricing=price_nearby)
    return CellSolution(influence, search_solution.coupling, search_solution.entropy, bound_solution.value)
