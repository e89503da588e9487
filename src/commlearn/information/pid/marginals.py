"""Checked tables p(x, y) of one modality (or one subset) and a target, and quantities of a single table.

Information depends only on the posteriors p(y | x) and their distribution. So rows with the same posterior
are merged before anything expensive is done, and every result is spread back over the rows it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commlearn.errors import DataError

Array = NDArray[np.float64]

SUM_TOLERANCE = 1e-6  # how far a table's sum may be from one, and class masses from each other
LEAST_MASS = 1e-13  # cells with less are left out of the solver; only the bounds account for them
IMPOSSIBLE = -30.0  # log probability that a cell without mass may have, so that influence stays finite
_SAME_POSTERIOR = 12  # decimals in which equal posteriors agree


def checked_table(values: ArrayLike, name: str, least_axes: int) -> Array:
    """Return the table as float64 that sums to one, or raise a DataError that says what is wrong with it."""
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not an array of numbers ({error}); give joint probabilities.") from error
    if table.ndim < least_axes:
        raise DataError(
            f"{name} has {table.ndim} axes, shape {table.shape}; it needs at least {least_axes}: "
            "one per modality, and the target last."
        )
    if table.size == 0:
        raise DataError(f"{name} is empty, shape {table.shape}; every axis needs at least one value.")
    if not np.isfinite(table).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(table))[0])
        raise DataError(f"{name} is {table[index]} at {index}; probabilities must be finite.")
    if table.min() < 0:
        index = tuple(int(i) for i in np.unravel_index(table.argmin(), table.shape))
        raise DataError(f"{name} is {table[index]:.6g} at {index}; probabilities must not be negative.")
    total = table.sum()
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise DataError(f"{name} sums to {total:.6g}; divide it by its sum so that it sums to 1.")
    return table / total


def checked_marginals(marginals: Sequence[ArrayLike]) -> list[Array]:
    """Return tables p(x_i, y) that share one p(y), or raise a DataError that names the largest difference."""
    if len(marginals) == 0:
        raise DataError("There are no marginals; give one table p(x_i, y) per modality.")
    tables = [checked_table(table, f"marginal {i}", 2) for i, table in enumerate(marginals)]
    for i, table in enumerate(tables):
        if table.ndim != 2:
            raise DataError(f"marginal {i} has shape {table.shape}; it must be (values of x_{i}, classes).")
        if table.shape[1] != tables[0].shape[1]:
            raise DataError(
                f"marginal {i} has {table.shape[1]} classes, marginal 0 has {tables[0].shape[1]}; "
                "every marginal needs the same classes in the same order."
            )
    targets = np.stack([table.sum(axis=0) for table in tables])
    difference = np.abs(targets - targets[0])
    i, label = np.unravel_index(difference.argmax(), difference.shape)
    if difference[i, label] > SUM_TOLERANCE:
        raise DataError(
            f"p(y) differs between the marginals; the largest difference is {difference[i, label]:.3g}: "
            f"class {label} has {targets[0, label]:.6g} in marginal 0 and {targets[i, label]:.6g} in marginal"
            f" {i}. Count all tables on the same records, or rescale their columns to a common p(y)."
        )
    # Scale each class to its mean share; a class that one table lacks is dropped from all.
    target = np.where((targets > 0).all(axis=0), targets.mean(axis=0), 0.0)
    target = target / target.sum()
    return [
        table * np.divide(target, mass, out=np.zeros_like(mass), where=mass > 0)
        for table, mass in zip(tables, targets, strict=True)
    ]


def entropy(masses: Array) -> float:
    """Return -sum p log p, in nats."""
    positive = masses[masses > 0]
    return float(-(positive * np.log(positive)).sum())


def information(table: Array) -> float:
    """Return I(X; Y) of a table p(x, y), in nats, never negative."""
    return max(0.0, entropy(table.sum(axis=0)) + entropy(table.sum(axis=1)) - entropy(table.ravel()))


def log_posterior(table: Array) -> Array:
    """Return log p(y | x) of a table in which every row has mass; -inf for cells without mass."""
    with np.errstate(divide="ignore"):
        return np.log(table / table.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Reduced:
    """Tables for a solver: rows with equal posteriors merged, cells below LEAST_MASS left out."""

    tables: list[Array]  # p(group, y) per modality, all with one p(y), never above the mass that was merged
    groups: list[NDArray[np.intp]]  # per modality, the group of every original row; -1 for a row without mass
    labels: NDArray[np.intp]  # the classes kept


def reduce_marginals(tables: Sequence[Array]) -> Reduced:
    """Merge rows with equal posteriors and drop cells of negligible mass, which no solver needs."""
    merged, groups = zip(*(_merge_rows(table) for table in tables), strict=True)
    cleaned = [np.where(table > LEAST_MASS, table, 0.0) for table in merged]
    labels = np.flatnonzero(np.all([table.sum(axis=0) > 0 for table in cleaned], axis=0))
    cleaned = [table[:, labels] for table in cleaned]
    target = np.min([table.sum(axis=0) for table in cleaned], axis=0)
    shrunk, renumbered = [], []
    for table, group in zip(cleaned, groups, strict=True):
        rows = np.flatnonzero(table.sum(axis=1) > 0)
        number = np.full(len(table) + 1, -1)  # the last entry serves rows without mass, whose group is -1
        number[rows] = np.arange(len(rows))
        renumbered.append(number[group])
        shrunk.append(table[rows] * (target / table.sum(axis=0)))
    return Reduced(shrunk, renumbered, labels)


def _merge_rows(table: Array) -> tuple[Array, NDArray[np.intp]]:
    mass = table.sum(axis=1)
    occupied = np.flatnonzero(mass > 0)
    posterior = np.round(table[occupied] / mass[occupied, None], _SAME_POSTERIOR)
    _, member = np.unique(posterior, axis=0, return_inverse=True)
    member = member.reshape(-1)
    merged = np.zeros((member.max() + 1, table.shape[1]))
    np.add.at(merged, member, table[occupied])
    group = np.full(len(table), -1)
    group[occupied] = member
    return merged, group


def spread_influence(reduced: Reduced, influence: Sequence[Array], classes: int) -> list[Array]:
    """Extend the influence functions of the reduced tables to the original ones, finite and feasible.

    Cells without mass, left out of the program, get such a low value that a class contributes at most
    exp(IMPOSSIBLE) in any joint cell, whatever the other modalities say. The first modality is lowered by as
    much as that may have raised log sum_y exp(sum_i a_i).
    """
    maxima = np.stack([part.max(axis=0) for part in influence])
    spread = []
    for part, top, table, group in zip(influence, maxima, reduced.tables, reduced.groups, strict=True):
        low = np.minimum(IMPOSSIBLE - (maxima.sum(axis=0) - top), top)
        filled = np.where(np.isfinite(part), part, low)
        full = np.full((len(filled), classes), IMPOSSIBLE / len(influence))
        full[:, reduced.labels] = filled
        fallback = int(table.sum(axis=1).argmax())  # rows that never occur may take another row's values
        spread.append(full[np.where(group < 0, fallback, group)])
    spread[0] = spread[0] - float(np.log1p(classes * np.exp(IMPOSSIBLE)))
    return spread
