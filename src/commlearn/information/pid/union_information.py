"""Union information: what several modalities say about a target if only their own p(x_i, y) counts.

Two classes are solved through ROC curves. More classes are a program on joint cells; if there are too many to
write them down, it is solved on a growing list of them, as a coupling needs few: solve on a short list, then
price all others. The list's coupling is a coupling of the whole program, so its entropy stays a rigorous
bound. The list's influence functions may violate the constraint elsewhere, and lowering them by the worst
excess found anywhere makes them feasible again. Cells with an excess join the list. All cells can be priced
without a table of them: split the modalities into two halves, and sum_y exp(sum_i a_i(x_i, y)) is a product
of two matrices. Everything but the result of `union_information` is in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commlearn.errors import DataError
from commlearn.information.pid.marginals import (
    Array,
    checked_marginals,
    entropy,
    information,
    log_posterior,
    reduce_marginals,
    spread_influence,
)
from commlearn.information.pid.union_solver import CellSolution, best_of, conditional_entropy, solve_on_cells


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
    orders = [np.argsort(-table[:, 1] / table.sum(axis=1), kind="stable") for table in tables]
    segments, owner, taken = _roc_envelope(tables, orders)
    log_first, log_second = log_posterior(segments).T
    influence = []
    for i, (table, order) in enumerate(zip(tables, orders, strict=True)):
        # What each vertex contributes to the rows: it is optimal for thresholds between the posteriors of the
        # two segments that meet in it.
        called_second, called_first = np.zeros(len(table) + 1), np.zeros(len(table) + 1)
        vertices = np.flatnonzero(owner == i)
        called_second[taken[vertices]] += log_first[vertices] - log_first[vertices + 1]
        called_first[taken[vertices]] += log_second[vertices + 1] - log_second[vertices]
        if i == 0:  # the two ends of the envelope belong to every curve; the first one takes them
            called_first[0] += log_second[0]
            called_second[-1] += log_first[-1]
        part = np.empty((len(table), 2))
        part[order, 0] = np.cumsum(called_second[::-1])[::-1][1:]  # all vertices after a row call it second
        part[order, 1] = np.cumsum(called_first)[:-1]
        influence.append(part)
    value = sum(float((t[t > 0] * a[t > 0]).sum()) for t, a in zip(tables, influence, strict=True))
    return CellSolution(influence, segments, conditional_entropy(segments), value)


def _roc_envelope(
    tables: Sequence[Array], orders: Sequence[NDArray[np.intp]]
) -> tuple[Array, NDArray[np.intp], NDArray[np.intp]]:
    """Return the upper concave hull of the vertices of all ROC curves, in masses instead of rates.

    `orders` holds the rows of each modality, those most likely of the second class first.

    Returns:
        (segments, 2) masses of first and second class, steepest first: the outcomes of the union; for the
        vertex after each segment but the last, the modality whose curve has it; and how many of that
        modality's rows come before it.
    """
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
    return segments, owner[hull][1:-1], counts[hull][1:-1]


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


_DIRECT = 1_000_000  # cells times squared classes up to which all joint cells are listed
_PRICED = 100_000_000  # joint cells up to which all of them are priced
_COORDINATES = 8_000  # influence values up to which the normal equations are factored


@dataclass(frozen=True)
class UnionInformation:
    """Bounds on the union information, in bits, and the influence functions that attain the lower one."""

    lower: float  # a rigorous bound, from feasible influence functions
    upper: float  # a rigorous bound, from a feasible coupling
    # a_i(x_i, y) per modality, in bits and finite; H(Y) + sum_i E[a_i(x_i, y)] is ``lower`` and u(x, y) =
    # sum_i a_i(x_i, y) - log2 p(y) is one record's share of it
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
    influence = spread_influence(reduced, solution.influence, tables[0].shape[1])
    label_entropy = entropy(tables[0].sum(axis=0))
    value = sum(float((table * part).sum()) for table, part in zip(tables, influence, strict=True))
    upper = max(label_entropy - solution.entropy, 0.0)
    lower = min(max(label_entropy + value, 0.0), upper)
    bits = float(np.log(2))
    return UnionInformation(lower / bits, upper / bits, tuple(part / bits for part in influence))


def _solve(tables: Sequence[Array], tolerance: float) -> CellSolution:
    """Leave out uninformative modalities, then choose the method and solve."""
    informative = [i for i, table in enumerate(tables) if len(table) > 1] or [0]
    solution = _solve_informative([tables[i] for i in informative], tolerance)
    influence = [np.zeros_like(table) for table in tables]
    for i, part in zip(informative, solution.influence, strict=True):
        influence[i] = part
    best = _single(tables, int(np.argmax([information(table) for table in tables])))  # a lower bound too
    if best.value > solution.value:
        return replace(solution, influence=best.influence, value=best.value)
    return replace(solution, influence=influence)


def _solve_informative(tables: Sequence[Array], tolerance: float) -> CellSolution:
    if len(tables) == 1:
        return _single(tables, 0)
    if tables[0].shape[1] == 2:
        return solve_two_classes(tables)
    sizes, classes = [len(table) for table in tables], tables[0].shape[1]
    if sum(sizes) * classes > _COORDINATES:
        raise DataError(
            f"The marginals have {sum(sizes)} rows with distinct posteriors and {classes} classes, "
            f"{sum(sizes) * classes} unknowns; the limit is {_COORDINATES}. Quantise the posteriors more "
            "coarsely or merge classes."
        )
    cells = np.prod(sizes, dtype=float)
    if cells * classes**2 <= _DIRECT:
        return solve_on_cells(tables, possible_cells(tables, all_cells(sizes)), tolerance)
    if len(sizes) == 2 or cells <= _PRICED:
        return solve_by_columns(tables, tolerance)
    return _solve_unpriced(tables, tolerance)


def _single(tables: Sequence[Array], i: int) -> CellSolution:
    """Return the posteriors of one modality: a feasible dual for all, the optimum if it is the only one."""
    influence = [np.zeros_like(table) for table in tables]
    influence[i] = log_posterior(tables[i])
    uncertainty = entropy(tables[i].ravel()) - entropy(tables[i].sum(axis=1))
    return CellSolution(influence, tables[i], uncertainty, -uncertainty)


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
    search_solution = solve_by_columns(tables, tolerance, price_nearby)
    return replace(search_solution, influence=influence, value=bound_solution.value)


_CHUNK = 4_000_000  # cells priced at a time
_FLOOR = -60.0  # stands for -inf where differences are taken
_CANDIDATES = 20_000  # violated cells that one pricing returns, at most


# From influence functions and listed cells: the largest log sum_y exp(sum_i a_i) found, and cells above zero.
Pricing = Callable[[Sequence[Array], NDArray[np.intp]], tuple[float, NDArray[np.intp]]]


def all_cells(sizes: Sequence[int]) -> NDArray[np.intp]:
    """Return every joint cell, one row each."""
    return np.indices(sizes).reshape(len(sizes), -1).T


def possible_cells(tables: Sequence[Array], cells: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the cells in which at least one class has mass in every modality."""
    possible = np.ones((len(cells), tables[0].shape[1]), dtype=bool)
    for table, rows in zip(tables, cells.T, strict=True):
        possible &= (table > 0)[rows]
    return cells[possible.any(axis=1)]


def solve_by_columns(
    tables: Sequence[Array], tolerance: float, pricing: Pricing | None = None
) -> CellSolution:
    """Solve the program on a growing list of cells until the certificate is below ``tolerance``.

    Every row and class of the tables p(x_i, y) must have some mass, and all must have the same p(y).

    Returns:
        A solution whose coupling is valid, and whose influence functions are feasible on every cell that the
        pricing checked: with ``price``, on every joint cell.
    """
    pricing = pricing or price
    cells = np.unique(np.concatenate([_staircase_cells(tables), _aligned_cells(tables)]), axis=0)
    inner_tolerance = max(tolerance / 3, 1e-2)
    best: list[CellSolution] = []
    for _ in range(60):
        solution = solve_on_cells(tables, cells, inner_tolerance)
        excess, violated = pricing(solution.influence, cells)
        shift = max(0.0, excess)  # makes the influence feasible; the dual value falls by as much
        influence = [solution.influence[0] - shift, *solution.influence[1:]]
        feasible = replace(solution, influence=influence, value=solution.value - shift)
        best = [best_of(*best, feasible)]
        if best[0].gap <= tolerance:
            break
        if excess <= 2 * inner_tolerance:
            inner_tolerance = max(tolerance / 3, inner_tolerance / 100)
        cells = np.unique(np.concatenate([cells, _spread(violated)]), axis=0)
    return best[0]


def _staircase_cells(tables: Sequence[Array]) -> NDArray[np.intp]:
    """Return the cells of one coupling: per class, line up the rows of each modality and cut at every edge.

    Rows are ordered by their log odds for the class, so that rows with similar posteriors are coupled.
    """
    target = tables[0].sum(axis=0)
    cells = []
    for label, total in enumerate(target):
        orders = [_by_posterior(table, label) for table in tables]
        edges = [np.cumsum(table[order, label]) for table, order in zip(tables, orders, strict=True)]
        cuts = np.unique(np.concatenate([[0.0], *edges]))
        middle = np.minimum((cuts[1:] + cuts[:-1]) / 2, total)
        rows = [
            order[np.minimum(np.searchsorted(edge, middle), len(order) - 1)]
            for order, edge in zip(orders, edges, strict=True)
        ]
        cells.append(np.stack(rows, axis=1))
    return np.concatenate(cells)


def _by_posterior(table: Array, label: int) -> NDArray[np.intp]:
    rows = np.flatnonzero(table[:, label] > 0)
    return rows[np.argsort(-table[rows, label] / table[rows].sum(axis=1), kind="stable")]


def _aligned_cells(tables: Sequence[Array]) -> NDArray[np.intp]:
    """Return, for every row of every modality, the rows of the others with the most similar posteriors."""
    roots = [np.sqrt(table / table.sum(axis=1, keepdims=True)) for table in tables]
    cells = [np.stack([np.argmax(root @ other.T, axis=1) for other in roots], axis=1) for root in roots]
    return possible_cells(tables, np.concatenate(cells))


def price(
    influence: Sequence[Array], cells: NDArray[np.intp], most: int = _CANDIDATES
) -> tuple[float, NDArray[np.intp]]:
    """Find the largest constraint over all joint cells, and up to ``most`` violated cells, worst first."""
    sizes = [len(part) for part in influence]
    logs = np.cumsum(np.log(sizes))
    half = 1 + int(np.argmin(np.abs(logs[:-1] - logs[-1] / 2)))  # both halves have about as many joint rows
    left, right = influence[:half], influence[half:]
    top_left, top_right = (sum(part.max(axis=0) for part in parts) for parts in (left, right))
    shift = (top_right - top_left) / 2  # per class, so that neither half overflows
    first, second = np.exp(_half_scores(left) + shift), np.exp(_half_scores(right) - shift)
    step = max(1, _CHUNK // len(second))
    worst, keys, values = 0.0, [], []
    for start in range(0, len(first), step):
        total = first[start : start + step] @ second.T
        worst = max(worst, float(total.max()))
        violated = np.flatnonzero(total.ravel() > 1.0 + 1e-12)
        value = total.ravel()[violated]
        if len(violated) > most:
            chosen = np.argpartition(-value, most)[:most]
            violated, value = violated[chosen], value[chosen]
        keys.append(violated + start * len(second))
        values.append(value)
    key, value = np.concatenate(keys), np.concatenate(values)
    order = np.argsort(-value, kind="stable")[:most]
    return float(np.log(worst)), np.stack(np.unravel_index(key[order], sizes), axis=1)


def price_nearby(influence: Sequence[Array], cells: NDArray[np.intp]) -> tuple[float, NDArray[np.intp]]:
    """Find violated cells by replacing one modality's row after another, starting from the listed cells."""
    influence = [np.maximum(part, _FLOOR) for part in influence]
    cells = cells.copy()
    score = _score(influence, cells)
    for _ in range(2):
        for i, part in enumerate(influence):
            others = score - part[cells[:, i]]
            cells[:, i] = (np.exp(others) @ np.exp(part).T).argmax(axis=1)
            score = others + part[cells[:, i]]
    cells = np.unique(cells, axis=0)
    score = _score(influence, cells)
    excess = np.log(np.exp(score).sum(axis=1))
    order = np.argsort(-excess, kind="stable")
    order = order[excess[order] > 1e-12]
    return float(excess.max()), cells[order]


def _score(influence: Sequence[Array], cells: NDArray[np.intp]) -> Array:
    return np.sum([part[rows] for part, rows in zip(influence, cells.T, strict=True)], axis=0)


def _half_scores(parts: Sequence[Array]) -> Array:
    score = np.zeros((1, parts[0].shape[1]))
    for part in parts:
        score = (score[:, None, :] + part[None, :, :]).reshape(-1, part.shape[1])
    return score


def _spread(cells: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the worst eight cells of every row of every modality: violations that differ from each other."""
    chosen = np.zeros(len(cells), dtype=bool)
    for rows in cells.T:
        order = np.argsort(rows, kind="stable")  # keeps the worst first within a row
        first = np.searchsorted(rows[order], rows[order])
        chosen[order[np.arange(len(order)) - first < 8]] = True
    return cells[chosen]
