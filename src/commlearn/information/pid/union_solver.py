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

from commlearn.information.pid.marginals import Array, log_posterior

_LEAST_WEIGHT = 1e-14  # barrier weight of a cell that conditional independence leaves (nearly) empty


class UnionProgram:
    """The program's constants; all influence functions are concatenated into one vector of coordinates.

    Couplings of the tables p(x_i, y) live on ``cells``, (cells, modalities), one row index per modality.
    """

    def __init__(self, tables: Sequence[Array], cells: NDArray[np.intp]) -> None:
        sizes = [len(table) for table in tables]
        self.tables, self.cells, self.classes = tables, cells, tables[0].shape[1]
        self.starts = np.concatenate([[0], np.cumsum([table.size for table in tables])])
        self.marginal = np.concatenate([table.ravel() for table in tables])  # (coordinates,)
        classes = np.arange(self.classes)
        # (cells, modalities, classes)
        coordinates = (self.starts[:-1] + cells * self.classes)[:, :, None] + classes
        column = np.arange(len(cells) * self.classes).reshape(-1, 1, self.classes)
        column = np.broadcast_to(column, coordinates.shape)
        # Sums a coupling into its marginals, (coordinates, cells * classes).
        self.collect = csr_matrix(
            (np.ones(coordinates.size), (coordinates.ravel(), column.ravel())),
            shape=(self.starts[-1], len(cells) * self.classes),
        )
        # Sum cells into pairs of rows of two modalities.
        self.pairs = {
            (i, j): csr_matrix(
                (np.ones(len(cells)), (cells[:, i] * sizes[j] + cells[:, j], np.arange(len(cells)))),
                shape=(sizes[i] * sizes[j], len(cells)),
            )
            for i in range(len(sizes))
            for j in range(i + 1)
        }
        self.free = _free_coordinates(tables)
        self.weight = _independent_mass(tables, cells)  # (cells,)

    def score(self, influence: Array) -> Array:
        """Return sum_i a_i(x_i, y) for every cell and class."""
        return (self.collect.T @ influence).reshape(-1, self.classes)

    def marginals_of(self, coupling: Array) -> Array:
        return self.collect @ coupling.ravel()


def _free_coordinates(tables: Sequence[Array]) -> NDArray[np.intp]:
    """Return the coordinates that move: those with mass, minus one per class in every modality but the first.

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


def solve_on_cells(tables: Sequence[Array], cells: NDArray[np.intp], tolerance: float) -> CellSolution:
    """Solve the program whose coupling lives on ``cells`` until the certificate is below ``tolerance`` nats.

    Every row and class of the tables p(x_i, y) must have some mass, all tables must have the same p(y), and
    the cells must admit a coupling. After the last Newton step, the best solution so far is returned.
    """
    program = UnionProgram(tables, cells)
    point = _start(program)
    best = _certify(program, point)
    for _ in range(120):
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
    logs = [log_posterior(table).ravel() for table in program.tables]
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
    coupling, parts = point.mass[:, None] * point.posterior, []
    for table, start, rows in zip(program.tables, program.starts, program.cells.T, strict=False):
        place = slice(start, start + table.size)
        parts.append(influence[place].reshape(table.shape))
        actual = program.marginals_of(coupling)[place].reshape(table.shape)
        # Rows are scaled down, one modality after the other, until no marginal is above p(x_i, y).
        factor = np.divide(table, actual, out=np.ones_like(table), where=actual > table)
        coupling = coupling * factor[rows]
    return CellSolution(parts, coupling, conditional_entropy(coupling), value)


def conditional_entropy(coupling: Array) -> float:
    """Return H(Y | X) times the total mass, in nats: sum of -q(x, y) log q(y | x) over a table of masses."""
    total = np.broadcast_to(coupling.sum(axis=1, keepdims=True), coupling.shape)
    positive = coupling > 0
    return float(-(coupling[positive] * np.log(coupling[positive] / total[positive])).sum())


def _newton_step(program: UnionProgram, point: _Point) -> _Point:
    """Compute a predictor without barrier, then take the step that aims for what the predictor can reach.

    The step is as long as positivity and a rough centrality allow.
    """
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
    aim = np.maximum(aim, 1e-3 * centring * target)
    step = _direction(program, point, solve, aim, residual - np.minimum(curvature, point.slack))
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


@dataclass(frozen=True)
class _Direction:
    influence: Array
    mass: Array
    slack: Array
    score: Array
    variance: Array  # variance of the score's change under the cell's posterior


def _normal_equations(program: UnionProgram, point: _Point) -> Callable[[Array], Array]:
    """Factor sum over cells of q(x) [diag(s) + (1 / slack - 1) s s'] and return the solver."""
    posterior, classes, starts = point.posterior, np.arange(program.classes), program.starts
    curvature = point.mass * (1.0 / point.slack - 1.0)
    blocks = curvature[:, None, None] * posterior[:, :, None] * posterior[:, None]
    blocks[:, classes, classes] += point.mass[:, None] * posterior
    blocks = blocks.reshape(len(blocks), -1)
    matrix = np.zeros((starts[-1], starts[-1]))
    for (i, j), sum_matrix in program.pairs.items():
        shape = (len(program.tables[i]), len(program.tables[j]), len(classes), len(classes))
        block = (sum_matrix @ blocks).reshape(shape).transpose(0, 2, 1, 3).reshape(shape[0] * shape[2], -1)
        matrix[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = block
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
