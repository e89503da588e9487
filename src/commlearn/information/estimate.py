"""Decomposition of held-out posteriors, in bits: ladder, union information, atoms and spectrum.

Every number is a mean over records, so it comes with one value per record, its influence function. That gives
the standard error and each record's contribution. Union information is computed on posteriors quantised into
tables p(cell, y), which keep what a modality says, whatever its dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations, pairwise
from operator import add, sub
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

from commlearn.batch import Subset, all_but_one, choose_subsets
from commlearn.information.pid import UnionInformation, shapley, union_information
from commlearn.information.pid.marginals import Array, log_posterior

_PRIOR = 10.0  # weight, in records, of a cell's mean posterior when smoothing its counts
_BITS = float(np.log(2))


@dataclass(frozen=True)
class Quantity:
    """A number of bits, and each record's share of it; the shares average to the number.

    If a bound replaces a number, bits and shares are those of the bound. `uncut` keeps the number's own
    shares for its error: two numbers cut to one bound would otherwise have a difference without error.
    """

    bits: float
    shares: Array  # (records,)
    uncut: Array  # (records,)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.bits + other.bits, self.shares + other.shares, self.uncut + other.uncut)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.bits - other.bits, self.shares - other.shares, self.uncut - other.uncut)

    def __mul__(self, factor: float) -> Quantity:
        return Quantity(self.bits * factor, self.shares * factor, self.uncut * factor)

    def at_least(self, *others: Quantity) -> Quantity:
        """Return the largest of the quantities, with this one's uncut shares."""
        return replace(max((self, *others), key=lambda quantity: quantity.bits), uncut=self.uncut)

    def at_most(self, *others: Quantity) -> Quantity:
        return replace(min((self, *others), key=lambda quantity: quantity.bits), uncut=self.uncut)


@dataclass(frozen=True)
class Union:
    """Union information of some subsets, with the certificate of the program on cells."""

    quantity: Quantity
    gap: float
    cells: tuple[int, ...]


ATOMS = ("redundant", "unique1", "unique2", "synergistic")


class QuantityKey(NamedTuple):
    """Key of a number: which part it is, and of which modalities."""

    part: str  # "information", an atom of two, "spectrum 1", ..., "unique", "non_exclusive" or "shapley"
    subsets: tuple[Subset, ...]  # one subset of the modalities, or the two that an atom compares

    @property
    def of(self) -> str:
        """The subsets as text for display."""
        return " | ".join(map(subset_name, self.subsets))

    def __str__(self) -> str:
        return f"{self.part}: {self.of}"


def subset_name(subset: Subset) -> str:
    """Return the names as text; one that contains a separator is quoted, so that no two subsets look alike.

    Example:
        >>> subset_name(("a", "b + c"))
        "a + 'b + c'"
    """
    return " + ".join(repr(name) if set(name) & set("+|'\"") else name for name in subset)


def information_of(subset: Subset) -> QuantityKey:
    """Return the key of I(A; Y)."""
    return QuantityKey("information", (subset,))


def united(names: Subset, first: Subset, second: Subset) -> Subset:
    """Return the names that are in either subset, in the order of `names`."""
    return tuple(name for name in names if name in {*first, *second})


Number = TypeVar("Number")


@dataclass(frozen=True)
class Decomposition(Generic[Number]):
    """The decomposition of one set of posteriors."""

    names: Subset  # names of the modalities, in order
    entropy: float  # H(Y), the bits that certainty takes
    gap: float  # largest certificate of its programs, in bits
    cells: list[tuple[int, ...]]  # for each order, cells of the posterior of each subset of that size
    numbers: dict[QuantityKey, Number]  # every number, in the order in which reports list them

    @property
    def total(self) -> Number:
        return self.numbers[information_of(self.names)]

    @property
    def ladder(self) -> dict[Subset, Number]:
        """I(A; Y) of every subset A, never less than that of a subset inside it."""
        return {key.subsets[0]: value for key, value in self.numbers.items() if key.part == "information"}

    @property
    def compared(self) -> list[tuple[Subset, ...]]:
        """Each pair of modalities and, if there are more than two, each one and the set of all others."""
        return [key.subsets for key in self.numbers if key.part == "redundant"]

    @property
    def spectrum(self) -> list[Number]:
        """The order spectrum, S(1), ..., S(n), which sums to the total."""
        return [value for key, value in self.numbers.items() if key.part.startswith("spectrum")]

    @property
    def unique(self) -> dict[str, Number]:
        """Information that the single modalities would lose without each one."""
        return {name: self.numbers[QuantityKey("unique", ((name,),))] for name in self.names}

    @property
    def non_exclusive(self) -> Number:
        """Information of the single modalities that more than one of them carries."""
        return self.numbers[QuantityKey("non_exclusive", (self.names,))]

    @property
    def shapley(self) -> dict[str, Number]:
        """Mean gain from adding each modality, over all orders of adding them."""
        return {name: self.numbers[QuantityKey("shapley", ((name,),))] for name in self.names}


Measured = Decomposition[Quantity]


def atoms_of_two(measured: Decomposition[Number], first: Subset, second: Subset) -> dict[str, Number]:
    """Return the redundant, unique and synergistic information of two modalities or sets of modalities."""
    return {part: measured.numbers[QuantityKey(part, (first, second))] for part in ATOMS}


def information_in(log: Array, labels: np.ndarray) -> Quantity:
    """Return I(A; Y): what held-out posteriors say about the labels beyond the shares of the classes."""
    share = np.bincount(labels) / len(labels)
    bits = (log[np.arange(len(labels)), labels] - np.log(share)[labels]) / _BITS
    return Quantity(float(bits.mean()), bits, bits)


def measure(
    logs: Mapping[Subset, Array],
    labels: np.ndarray,
    weights: Array | None = None,
    tolerance: float = 1e-5,
    cells: dict[Subset, Array] | None = None,
) -> Measured:
    """Decompose held-out posteriors.

    `logs` holds the natural log p(y | A) of every subset, (records, classes). `tolerance` is the required
    certificate of the programs, in bits. `cells` is a cache: missing cells are added for later resamplings.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    sample = _Sample(logs, labels, weights, {} if cells is None else cells, tolerance)
    names, ladder = sample.names, sample.ladder
    others = all_but_one(names)
    # Union information of all other single modalities; then of all subsets of each size, never less than of
    # the size before.
    without = [sample.union(tuple((name,) for name in rest), names) for rest in others]
    unions: list[Union] = []
    lower_bounds = [union.quantity for union in without]
    for size in range(1, len(names)):
        union = sample.union(tuple(combinations(names, size)), names)
        lower_bounds = [union.quantity.at_least(*lower_bounds).at_most(ladder[names])]
        unions.append(replace(union, quantity=lower_bounds[0]))
    unions.append(Union(ladder[names], 0.0, ()))
    pairs: list[tuple[Subset, Subset]] = [((a,), (b,)) for a, b in combinations(names, 2)]
    pairs += [((name,), rest) for name, rest in zip(names, others, strict=True) if len(names) > 2]
    numbers = {information_of(subset): value for subset, value in ladder.items()}
    gaps = [union.gap for union in [*unions, *without]]
    for first, second in pairs:
        joint = united(names, first, second)
        union = sample.union((first, second), joint)
        gaps.append(union.gap)
        either, one, two = union.quantity, ladder[first], ladder[second]
        atoms = (one + two - either, either - two, either - one, ladder[joint] - either)
        for part, atom in zip(ATOMS, atoms, strict=True):
            numbers[QuantityKey(part, (first, second))] = atom
    amounts = [union.quantity for union in unions]
    unique = [amounts[0] - union.quantity for union in without]
    spectrum = [amounts[0], *(after - before for before, after in pairwise(amounts))]
    shares = shapley(ladder, names, Quantity(0.0, *[np.zeros(len(labels))] * 2))
    numbers |= {QuantityKey(f"spectrum {order}", (names,)): value for order, value in enumerate(spectrum, 1)}
    numbers |= {QuantityKey("unique", ((name,),)): part for name, part in zip(names, unique, strict=True)}
    numbers[QuantityKey("non_exclusive", (names,))] = reduce(sub, unique, amounts[0])
    numbers |= {QuantityKey("shapley", ((name,),)): share for name, share in shares.items()}
    return Measured(names, sample.entropy, max(gaps), [union.cells for union in unions], numbers)


class _Sample:
    """Weighted records with their posteriors; cells, tables and solved programs are cached."""

    def __init__(
        self,
        logs: Mapping[Subset, Array],
        labels: np.ndarray,
        weights: Array,
        cells: dict[Subset, Array],
        tolerance: float,
    ) -> None:
        self.logs, self.labels, self.cells, self.tolerance = logs, labels, cells, tolerance
        self.weights = weights / weights.mean()
        self.rows = np.arange(len(labels))
        classes = next(iter(logs.values())).shape[1]
        share = np.bincount(labels, weights=self.weights, minlength=classes) / len(labels)
        self.log_target = np.log2(np.maximum(share, 1e-300))
        self.entropy = float(-(share[share > 0] * np.log2(share[share > 0])).sum())
        self.tables: dict[Subset, Array] = {}
        # Solved once per list of subsets: "all but one" of three modalities is also a pair.
        self.solved: dict[tuple[Subset, ...], UnionInformation] = {}
        self.names = max(logs, key=len)
        self.ladder: dict[Subset, Quantity] = {}
        zero = Quantity(0.0, *[np.zeros(len(labels))] * 2)
        for subset in choose_subsets("every", self.names):
            parts = [self.ladder[part] for part in combinations(subset, len(subset) - 1) if part]
            self.ladder[subset] = self._information(logs[subset], _BITS).at_least(zero, *parts)

    def union(self, subsets: tuple[Subset, ...], names: Subset) -> Union:
        """Return the union information on cells, corrected for what quantisation lost of each subset.

        It is at most the information of `names`, among which are all modalities of the subsets.
        """
        amounts = [self.ladder[subset] for subset in subsets]
        if len(subsets) == 1:
            return Union(amounts[0], 0.0, ())
        tables = [self._table(subset) for subset in subsets]
        if subsets not in self.solved:
            self.solved[subsets] = union_information(tables, self.tolerance)
        shares = -self.log_target[self.labels]
        for subset, influence in zip(subsets, self.solved[subsets].influence, strict=True):
            shares = shares + (self._cells(subset) @ influence)[self.rows, self.labels]
        quantity, total = self._quantity(shares), reduce(add, amounts)
        for subset, table, amount in zip(subsets, tables, amounts, strict=True):
            quantised = self._cells(subset) @ (log_posterior(np.maximum(table, 1e-12)) / _BITS)
            loss = amount - self._information(quantised, 1.0)
            quantity = quantity + loss * (amount.bits / max(total.bits, 1e-12))
        quantity = quantity.at_least(*amounts).at_most(total, self.ladder[names])
        return Union(quantity, self.solved[subsets].gap, tuple(map(len, tables)))

    def _information(self, log: Array, bit: float) -> Quantity:
        """Return I(A; Y) from log p(y | A) in units of a bit: H(Y) minus the held-out cross-entropy."""
        return self._quantity(log[self.rows, self.labels] / bit - self.log_target[self.labels])

    def _quantity(self, shares: Array) -> Quantity:
        return Quantity(float(shares @ self.weights / len(shares)), shares, shares)

    def _cells(self, subset: Subset) -> Array:
        if subset not in self.cells:
            log = self.logs[subset]
            self.cells[subset] = soft_cells(log, cell_count(len(log), log.shape[1]))
        return self.cells[subset]

    def _table(self, subset: Subset) -> Array:
        if subset not in self.tables:
            cells, log = self._cells(subset), self.logs[subset]
            self.tables[subset] = cell_table(cells, log, self.labels, self.weights)
        return self.tables[subset]


_MOST_VALUES = 800  # cells times classes: the program's equations grow with their square


def cell_count(records: int, classes: int) -> int:
    """Return the number of cells to use: about n^(1/3) + classes, fewer if there are many classes.

    Example:
        >>> cell_count(1000, 2), cell_count(2500, 50)
        (12, 16)
    """
    return min(round(records ** (1 / 3)) + classes, max(_MOST_VALUES // classes, 4))


def soft_cells(log: Array, cells: int) -> Array:
    """Return each record's weights on cells, (records, at most `cells`), computed from posteriors only.

    Two classes: cells of equal mass along the log odds, each record shared between its two nearest. More
    classes: k-means on the square roots of the posteriors, whose Euclidean distance is Hellinger's.
    """
    if log.shape[1] == 2:
        return _between_levels(log[:, 1], cells)
    roots = np.exp(log / 2)
    centres = np.unique(roots.round(6), axis=0)
    if len(centres) > cells:
        centres = np.unique(kmeans2(roots, cells, minit="++", iter=30, rng=0)[0], axis=0)
    distance = cdist(roots, centres, "sqeuclidean")
    spread = max(float(distance.min(axis=1).mean()), 1e-9)
    weights = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / spread)
    return weights / weights.sum(axis=1, keepdims=True)


def _between_levels(score: Array, cells: int) -> Array:
    """Return linear weights on the two cells whose mean scores enclose the record's."""
    order = np.argsort(score, kind="stable")
    levels = np.unique([score[part].mean() for part in np.array_split(order, cells) if len(part)])
    levels = levels[np.concatenate([[True], np.diff(levels) > 1e-9])]
    if len(levels) == 1:
        return np.ones((len(score), 1))
    index = np.clip(np.searchsorted(levels, score) - 1, 0, len(levels) - 2)
    share = np.clip((score - levels[index]) / (levels[index + 1] - levels[index]), 0, 1)
    weights = np.zeros((len(score), len(levels)))
    rows = np.arange(len(score))
    weights[rows, index] = 1 - share
    weights[rows, index + 1] = share
    return weights


def cell_table(members: Array, log: Array, labels: np.ndarray, weights: Array) -> Array:
    """Return p(cell, y) from counts of weighted records, each cell smoothed with its mean posterior."""
    members = members * weights[:, None]
    counts = members.T @ np.eye(log.shape[1])[labels]  # (cells, classes)
    expected = members.T @ np.exp(log)
    mass = members.sum(axis=0)[:, None]
    occupied = mass[:, 0] > 0
    share = mass / (mass + _PRIOR)
    table = np.where(mass > 0, share * counts + (1 - share) * expected, 0.0)
    table[occupied] = _with_target(table[occupied], counts.sum(axis=0))
    return table


def _with_target(table: Array, target: Array) -> Array:
    """Scale the table alternately to the classes' counts and to the cells' masses."""
    mass = table.sum(axis=1, keepdims=True)
    for _ in range(50):
        table = table * (target / table.sum(axis=0))
        table = table * (mass / table.sum(axis=1, keepdims=True))
    table = table * (target / table.sum(axis=0))
    return table / table.sum()
