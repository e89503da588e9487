"""The union-information program on a list of joint cells, solved with a certificate. Everything is in nats.

Primal, over couplings q of the modalities that keep every p(x_i, y):

    min_q  sum_{x, y} q(x, y) log q(y | x)                                   ( = - H_q(Y | X) )

Dual, over influence functions a_i(x_i, y):

    max_a  sum_i sum_{x_i, y} p(x_i, y) a_i(x_i, y)
    subject to   log sum_y exp(sum_i a_i(x_i, y)) <= 0   at every x

A primal-dual interior-point method works on the dual, with one multiplier q(x) per cell: the coupling is
q(x, y) = q(x) softmax_y(sum_i a_i(x_i, y)). Three choices make it converge in about ten Newton steps, from
smooth tables to nearly deterministic ones: separate slack variables for the constraints, a barrier weighted
by the mass that conditional independence gives a cell, and a second-order correction for the curvature of
the log-sum-exp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csr_matrix

from commlearn.information.pid.marginals import Array

_LEAST_WEIGHT = 1e-14  # barrier weight of a cell that conditional independence leaves (nearly) empty


@dataclass(frozen=True)
class UnionProgram:
    """The program's constants; all influence functions are concatenated into one vector of coordinates."""

    tables: Sequence[Array]
    cells: NDArray[np.intp]  # (cells, modalities)
    marginal: Array  # (coordinates,)
    collect: csr_matrix  # (coordinates, cells * classes): sums a coupling into its marginals
    pairs: dict[tuple[int, int], csr_matrix]  # sums cells into pairs of rows of two modalities
    free: NDArray[np.intp]  # coordinates that move; others lack mass or only shift weight between modalities
    weight: Array  # (cells,)

    @property
    def classes(self) -> int:
        return self.tables[0].shape[1]

    @property
    def starts(self) -> NDArray[np.intp]:
        return np.concatenate([[0], np.cumsum([table.size for table in self.tables])])

    def score(self, influence: Array) -> Array:
        """Return sum_i a_i(x_i, y) for every cell and class."""
        return (self.collect.T @ influence).reshape(-1, self.classes)

    def marginals_of(self, coupling: Array) -> Array:
        return self.collect @ coupling.ravel()

    def split(self, influence: Array) -> list[Array]:
        pieces = np.split(influence, self.starts[1:-1])
        return [piece.reshape(table.shape) for piece, table in zip(pieces, self.tables, strict=True)]


def build_program(tables: Sequence[Array], cells: NDArray[np.intp]) -> UnionProgram:
    """Build the program for tables p(x_i, y) with couplings on ``cells``, one row index per modality."""
    sizes = [len(table) for table in tables]
    classes = tables[0].shape[1]
    starts = np.concatenate([[0], np.cumsum(sizes[:-1], dtype=int)]) * classes
    coordinates = (starts + cells * classes)[:, :, None] + np.arange(classes)  # (cells, modalities, classes)
    column = np.arange(len(cells) * classes).reshape(-1, 1, classes)
    shape = (sum(sizes) * classes, len(cells) * classes)
    column = np.broadcast_to(column, coordinates.shape)
    collect = csr_matrix((np.ones(coordinates.size), (coordinates.ravel(), column.ravel())), shape=shape)
    return UnionProgram(
        tables=tables,
        cells=cells,
        marginal=np.concatenate([table.ravel() for table in tables]),
        collect=collect,
        pairs={
            (i, j): _sum_rows(cells[:, i] * sizes[j] + cells[:, j], sizes[i] * sizes[j])
            for i in range(len(sizes))
            for j in range(i + 1)
        },
        free=_free_coordinates(tables),
        weight=_independent_mass(tables, cells),
    )


def _sum_rows(key: NDArray[np.intp], rows: int) -> csr_matrix:
    return csr_matrix((np.ones(len(key)), (key, np.arange(len(key)))), shape=(rows, len(key)))


def _free_coordinates(tables: Sequence[Array]) -> NDArray[np.intp]:
    """Return the coordinates with mass, minus one per class in every modality but the first.

    Raising a_1 by c(y) and lowering a_2 by the same amount changes nothing.
    """
    masks = [table > 0 for table in tables]
    for table, mask in zip(tables[1:], masks[1:], strict=True):
        mask[table.argmax(axis=0), np.arange(table.shape[1])] = False
    return np.flatnonzero(np.concatenate([mask.ravel() for mask in masks]))


def _independent_mass(tables: Sequence[Array], cells: NDArray[np.intp]) -> Array:
    """Return sum_y p(y) prod_i p(x_i | y), a cell's mass if modalities were independent given the class."""
    target = tables[0].sum(axis=0)
    mass = np.broadcast_to(target, (len(cells), len(target)))
    for table, rows in zip(tables, cells.T, strict=True):
        mass = mass * (table / target)[rows]
    weight = np.maximum(mass.sum(axis=1), _LEAST_WEIGHT)
    return weight / weight.sum()


def log_sum_exp(score: Array) -> tuple[Array, Array]:
    """Return log sum_y exp(score) of every cell, and the softmax of its scores."""
    top = score.max(axis=1, keepdims=True)
    share = np.exp(score - top)
    total = share.sum(axis=1, keepdims=True)
    return (top + np.log(total))[:, 0], share / total


_LONGEST_STEP = 3.0  # in the exponent: beyond it, the linear model of an exponential is worthless
_CENTRALITY = 1e-3  # least share of its target that a cell's complementarity may have after a step


@dataclass(frozen=True)
class CellSolution:
    """A feasible dual and a (nearly) feasible primal point on a list of cells, in nats."""

    # a_i(x_i, y) per modality; -inf where p(x_i, y) is zero. Scaled so that the constraint holds on every
    # cell of the list.
    influence: list[Array]
    # q(x, y), one row per cell; its marginals are at most p(x_i, y), with a minute mass missing.
    coupling: Array
    entropy: float  # sum of -q(x, y) log q(y | x): a lower bound on H(Y | X) of the completed coupling
    value: float  # sum_i E[a_i], the dual objective

    @property
    def gap(self) -> float:
        """How far the dual falls short of the primal on these cells."""
        return -self.entropy - self.value


@dataclass(frozen=True)
class _Point:
    """An iterate: influence functions, the mass q(x) of every cell, the slack of every constraint."""

    influence: Array
    mass: Array
    slack: Array
    excess: Array  # log sum_y exp(score)
    posterior: Array  # softmax of the score, (cells, classes)


def solve_on_cells(
    tables: Sequence[Array], cells: NDArray[np.intp], tolerance: float, iterations: int = 120
) -> CellSolution:
    """Solve the program whose coupling lives on ``cells`` until the certificate is below ``tolerance`` nats.

    Every row and class of the tables p(x_i, y) must have some mass, all tables must have the same p(y), and
    the cells must admit a coupling. After the last Newton step, the best solution so far is returned.
    """
    program = build_program(tables, cells)
    point = _start(program)
    best = _certify(program, point)
    for _ in range(iterations):
        if best.gap <= tolerance:
            break
        try:
            point = _newton_step(program, point)
        except LinAlgError:
            break
        if not np.isfinite(point.mass @ point.slack):
            break
        best = best_of(_certify(program, point), best)
    return best


def _start(program: UnionProgram) -> _Point:
    """Start at the modalities' mean log posterior, lowered by one: feasible by Hoelder's inequality."""
    with np.errstate(divide="ignore"):
        logs = [np.log(table / table.sum(axis=1, keepdims=True)).ravel() for table in program.tables]
    influence = (np.concatenate(logs) - 1.0) / len(program.tables)
    excess, posterior = log_sum_exp(program.score(influence))
    return _Point(influence, program.weight, -excess, excess, posterior)


def best_of(*solutions: CellSolution) -> CellSolution:
    """Combine the best dual point with the best primal one."""
    dual, primal = max(solutions, key=lambda s: s.value), max(solutions, key=lambda s: s.entropy)
    return CellSolution(dual.influence, primal.coupling, primal.entropy, dual.value)


def _certify(program: UnionProgram, point: _Point) -> CellSolution:
    """Make the point feasible on both sides, dual and primal."""
    influence = point.influence.copy()
    influence[: program.tables[0].size] -= max(0.0, point.excess.max())
    occupied = program.marginal > 0
    value = float(program.marginal[occupied] @ influence[occupied])
    coupling = _shrink_to_marginals(program, point.mass[:, None] * point.posterior)
    return CellSolution(program.split(influence), coupling, conditional_entropy(coupling), value)


def _shrink_to_marginals(program: UnionProgram, coupling: Array) -> Array:
    """Scale rows down, one modality after the other, until no marginal is above p(x_i, y)."""
    for table, start, rows in zip(program.tables, program.starts, program.cells.T, strict=False):
        actual = program.marginals_of(coupling)[start : start + table.size].reshape(table.shape)
        factor = np.divide(table, actual, out=np.ones_like(table), where=actual > table)
        coupling = coupling * factor[rows]
    return coupling


def conditional_entropy(coupling: Array) -> float:
    """Return H(Y | X) times the total mass, in nats: sum of -q(x, y) log q(y | x) over a table of masses."""
    total = np.broadcast_to(coupling.sum(axis=1, keepdims=True), coupling.shape)
    positive = coupling > 0
    return float(-(coupling[positive] * np.log(coupling[positive] / total[positive])).sum())


def _newton_step(program: UnionProgram, point: _Point) -> _Point:
    """Compute a predictor without barrier, then take the step that aims for what the predictor can reach."""
    solve = _normal_equations(program, point)
    complementarity = point.mass @ point.slack
    residual = -(point.excess + point.slack)  # how far the slack is from what the influence functions leave
    predictor = _direction(program, point, solve, np.zeros_like(point.mass), residual)
    mass_step, slack_step = _step_lengths(point, predictor, 1.0)
    predicted = (point.mass + mass_step * predictor.mass) @ (point.slack + slack_step * predictor.slack)
    centring = np.clip((predicted / complementarity) ** 3, 1e-3, 1.0)
    target = complementarity * program.weight
    aim = centring * target - np.clip(predictor.mass * predictor.slack, -target, target)
    curvature = 0.5 * slack_step**2 * predictor.variance
    step = _direction(
        program,
        point,
        solve,
        np.maximum(aim, 1e-3 * centring * target),
        residual - np.minimum(curvature, point.slack),
    )
    return _move(program, point, step)


@dataclass(frozen=True)
class _Direction:
    influence: Array
    mass: Array
    slack: Array
    score: Array
    variance: Array  # variance of the score's change under the cell's posterior


def _normal_equations(program: UnionProgram, point: _Point) -> Callable[[Array], Array]:
    """Factor sum over cells of q(x) [diag(s) + (1 / slack - 1) s s'] and return the solver."""
    posterior, classes = point.posterior, np.arange(program.classes)
    curvature = point.mass * (1.0 / point.slack - 1.0)
    blocks = curvature[:, None, None] * posterior[:, :, None] * posterior[:, None]
    blocks[:, classes, classes] += point.mass[:, None] * posterior
    blocks = blocks.reshape(len(blocks), -1)
    starts, size = program.starts, len(classes)
    matrix = np.zeros((starts[-1], starts[-1]))
    for (i, j), sum_matrix in program.pairs.items():
        rows, columns = len(program.tables[i]), len(program.tables[j])
        block = (sum_matrix @ blocks).reshape(rows, columns, size, size).transpose(0, 2, 1, 3)
        matrix[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = block.reshape(rows * size, -1)
    free = program.free
    matrix = matrix[np.ix_(free, free)]
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    matrix *= scale[:, None] * scale
    factor = _cholesky(matrix)

    def solve(rhs: Array) -> Array:
        result = np.zeros(starts[-1])
        result[free] = scale * cho_solve(factor, scale * rhs[free], check_finite=False)
        return result

    return solve


def _cholesky(matrix: Array) -> tuple[Array, bool]:
    """Return the Cholesky factor, with the smallest ridge that rounding requires."""
    diagonal = np.arange(len(matrix))
    for ridge in (1e-13, 1e-11, 1e-9):
        matrix[diagonal, diagonal] = 1.0 + ridge
        try:
            return cho_factor(matrix, lower=True, check_finite=False)
        except LinAlgError:
            continue
    raise LinAlgError("The normal equations are not positive definite.")


def _direction(
    program: UnionProgram, point: _Point, solve: Callable[[Array], Array], aim: Array, residual: Array
) -> _Direction:
    """Return Newton's direction towards mass * slack = aim, the right marginals and slack = -excess."""
    posterior, mass, slack = point.posterior, point.mass, point.slack
    base = (aim - mass * residual) / slack
    influence = solve(program.marginal - program.marginals_of(base[:, None] * posterior))
    score = np.where(posterior > 0, program.score(influence), 0.0)
    mean = (posterior * score).sum(axis=1)
    variance = np.maximum((posterior * score**2).sum(axis=1) - mean**2, 0.0)
    return _Direction(influence, base - mass + mass / slack * mean, residual - mean, score, variance)


def _step_lengths(point: _Point, step: _Direction, fraction: float) -> tuple[float, float]:
    longest = _LONGEST_STEP / max(np.abs(step.score).max(), 1e-300)
    slack = min(_to_boundary(point.slack, step.slack, fraction), longest)
    return _to_boundary(point.mass, step.mass, fraction), slack


def _to_boundary(value: Array, change: Array, fraction: float) -> float:
    falling = change < 0
    return min(1.0, fraction * float(np.min(-value[falling] / change[falling]))) if falling.any() else 1.0


def _move(program: UnionProgram, point: _Point, step: _Direction) -> _Point:
    """Step as far as positivity and a rough centrality allow."""
    mass_step, slack_step = _step_lengths(point, step, 0.99)
    for _ in range(40):
        mass = point.mass + mass_step * step.mass
        slack = point.slack + slack_step * step.slack
        product = mass * slack
        if (product / program.weight).min() > _CENTRALITY * product.sum():
            break
        mass_step, slack_step = 0.7 * mass_step, 0.7 * slack_step
    influence = point.influence + slack_step * step.influence
    excess, posterior = log_sum_exp(program.score(influence))
    return _Point(influence, mass, np.maximum(slack, -excess), excess, posterior)
