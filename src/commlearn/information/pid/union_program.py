"""The union-information program on a list of joint cells: what its numbers are and where they lie.

Primal, over couplings q of the modalities that keep every p(x_i, y):

    min_q  sum_{x, y} q(x, y) log q(y | x)                                   ( = - H_q(Y | X) )

Dual, over influence functions a_i(x_i, y):

    max_a  sum_i sum_{x_i, y} p(x_i, y) a_i(x_i, y)
    subject to   log sum_y exp(sum_i a_i(x_i, y)) <= 0   at every x

Everything in here is in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Array = NDArray[np.float64]

_LEAST_WEIGHT = 1e-14  # barrier weight of a cell that conditional independence leaves (nearly) empty


@dataclass(frozen=True)
class UnionProgram:
    """The program's constants; all influence functions lie end to end in one vector of coordinates."""

    tables: Sequence[Array]
    cells: NDArray[np.intp]  # (cells, modalities)
    marginal: Array  # (coordinates,)
    collect: csr_matrix  # (coordinates, cells * classes): sums a coupling into its marginals
    pairs: dict[tuple[int, int], csr_matrix]  # sums cells into pairs of rows of two modalities
    free: NDArray[np.intp]  # the coordinates that move; the others only shift weight between modalities
    weight: Array  # (cells,)

    @property
    def classes(self) -> int:
        return self.tables[0].shape[1]

    @property
    def starts(self) -> NDArray[np.intp]:
        return np.concatenate([[0], np.cumsum([table.size for table in self.tables])])

    def score(self, influence: Array) -> Array:
        """sum_i a_i(x_i, y) for every cell and class."""
        return (self.collect.T @ influence).reshape(-1, self.classes)

    def marginals_of(self, coupling: Array) -> Array:
        return self.collect @ coupling.ravel()

    def split(self, influence: Array) -> list[Array]:
        pieces = np.split(influence, self.starts[1:-1])
        return [piece.reshape(table.shape) for piece, table in zip(pieces, self.tables, strict=True)]


def build_program(tables: Sequence[Array], cells: NDArray[np.intp]) -> UnionProgram:
    """The program of tables p(x_i, y) whose coupling lives on ``cells``, one row index per modality."""
    sizes = [len(table) for table in tables]
    classes = tables[0].shape[1]
    starts = np.concatenate([[0], np.cumsum(sizes[:-1], dtype=int)]) * classes
    places = (starts + cells * classes)[:, :, None] + np.arange(classes)  # (cells, modalities, classes)
    column = np.arange(len(cells) * classes).reshape(-1, 1, classes)
    shape = (sum(sizes) * classes, len(cells) * classes)
    column = np.broadcast_to(column, places.shape)
    collect = csr_matrix((np.ones(places.size), (places.ravel(), column.ravel())), shape=shape)
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
    """Those with mass, less one a class in all modalities but the first.

    To raise a_1 by c(y) and lower a_2 by as much changes nothing.
    """
    free = [table > 0 for table in tables]
    for table, mask in zip(tables[1:], free[1:], strict=True):
        mask[table.argmax(axis=0), np.arange(table.shape[1])] = False
    return np.flatnonzero(np.concatenate([mask.ravel() for mask in free]))


def _independent_mass(tables: Sequence[Array], cells: NDArray[np.intp]) -> Array:
    """sum_y p(y) prod_i p(x_i | y): the cell's mass if the modalities were independent given the class."""
    target = tables[0].sum(axis=0)
    mass = np.broadcast_to(target, (len(cells), len(target)))
    for table, rows in zip(tables, cells.T, strict=True):
        mass = mass * (table / target)[rows]
    weight = np.maximum(mass.sum(axis=1), _LEAST_WEIGHT)
    return weight / weight.sum()


def log_sum_exp(score: Array) -> tuple[Array, Array]:
    """log sum_y exp(score) of every cell, and its softmax."""
    top = score.max(axis=1, keepdims=True)
    share = np.exp(score - top)
    total = share.sum(axis=1, keepdims=True)
    return (top + np.log(total))[:, 0], share / total
