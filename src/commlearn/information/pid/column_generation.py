"""The union-information program when the joint table is too large to write down.

A coupling needs few cells: solve on a short list, then price all others. The list's coupling is a coupling of
the whole program, so its entropy stays a rigorous bound. The list's influence functions may violate the
constraint elsewhere, and lowering them by the worst excess found anywhere makes them feasible again. Cells
with an excess join the list. All cells can be priced without a table of them: split the modalities into two
halves, and sum_y exp(sum_i a_i(x_i, y)) is a product of two matrices. Everything in here is in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from commlearn.information.pid.marginals import Array
from commlearn.information.pid.union_solver import CellSolution, best_of, solve_on_cells

_CHUNK = 4_000_000  # cells priced at a time
_FLOOR = -60.0  # stands for -inf where differences are taken
_CANDIDATES = 20_000  # violated cells that one pricing returns, at most


@dataclass(frozen=True)
class Prices:
    """The largest log sum_y exp(sum_i a_i) over all cells, and the cells above zero with their values."""

    excess: float
    cells: NDArray[np.intp]
    excesses: Array


Pricing = Callable[[Sequence[Array], NDArray[np.intp]], Prices]


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
    tables: Sequence[Array], tolerance: float, pricing: Pricing | None = None, rounds: int = 60
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
    for _ in range(rounds):
        solution = solve_on_cells(tables, cells, inner_tolerance)
        prices = pricing(solution.influence, cells)
        best = [best_of(*best, _make_feasible(solution, prices.excess))]
        if best[0].gap <= tolerance:
            break
        if prices.excess <= 2 * inner_tolerance:
            inner_tolerance = max(tolerance / 3, inner_tolerance / 100)
        cells = np.unique(np.concatenate([cells, _spread(prices)]), axis=0)
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
    cells = []
    for root in roots:
        nearest = [np.argmax(root @ other.T, axis=1) for other in roots]
        cells.append(np.stack(nearest, axis=1))
    return possible_cells(tables, np.concatenate(cells))


def price(influence: Sequence[Array], cells: NDArray[np.intp], most: int = _CANDIDATES) -> Prices:
    """Find the largest constraint over all joint cells, and up to ``most`` violated cells, worst first."""
    half = _split_point([len(part) for part in influence])
    left, right = influence[:half], influence[half:]
    shift = _balance(left, right)
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
    cells = np.stack(np.unravel_index(key[order], [len(part) for part in influence]), axis=1)
    return Prices(float(np.log(worst)), cells, np.log(value[order]))


def price_nearby(influence: Sequence[Array], cells: NDArray[np.intp], sweeps: int = 2) -> Prices:
    """Find violated cells by replacing one modality's row after another, starting from the listed cells."""
    influence = [np.maximum(part, _FLOOR) for part in influence]
    cells = cells.copy()
    score = _score(influence, cells)
    for _ in range(sweeps):
        for i, part in enumerate(influence):
            others = score - part[cells[:, i]]
            cells[:, i] = (np.exp(others) @ np.exp(part).T).argmax(axis=1)
            score = others + part[cells[:, i]]
    cells = np.unique(cells, axis=0)
    score = _score(influence, cells)
    excess = np.log(np.exp(score).sum(axis=1))
    order = np.argsort(-excess, kind="stable")
    order = order[excess[order] > 1e-12]
    return Prices(float(excess.max()), cells[order], excess[order])


def _score(influence: Sequence[Array], cells: NDArray[np.intp]) -> Array:
    return np.sum([part[rows] for part, rows in zip(influence, cells.T, strict=True)], axis=0)


def _split_point(sizes: Sequence[int]) -> int:
    """Return where to cut the list of modalities so that both halves have about as many joint rows."""
    logs = np.cumsum(np.log(sizes))
    return 1 + int(np.argmin(np.abs(logs[:-1] - logs[-1] / 2)))


def _half_scores(parts: Sequence[Array]) -> Array:
    score = np.zeros((1, parts[0].shape[1]))
    for part in parts:
        score = (score[:, None, :] + part[None, :, :]).reshape(-1, part.shape[1])
    return score


def _balance(left: Sequence[Array], right: Sequence[Array]) -> Array:
    """Return the log weight per class to move between the halves, so that neither overflows."""
    top_left, top_right = (sum(part.max(axis=0) for part in parts) for parts in (left, right))
    return (top_right - top_left) / 2


def _make_feasible(solution: CellSolution, excess: float) -> CellSolution:
    """Lower the first modality's influence by the worst excess; the dual value falls by as much."""
    shift = max(0.0, excess)
    influence = [solution.influence[0] - shift, *solution.influence[1:]]
    return replace(solution, influence=influence, value=solution.value - shift)


def _spread(prices: Prices, per_row: int = 8) -> NDArray[np.intp]:
    """Return the worst few cells of every row of every modality: violations that differ from each other."""
    chosen = np.zeros(len(prices.cells), dtype=bool)
    for rows in prices.cells.T:
        order = np.argsort(rows, kind="stable")  # keeps the worst first within a row
        first = np.searchsorted(rows[order], rows[order])
        chosen[order[np.arange(len(order)) - first < per_row]] = True
    return prices.cells[chosen]
