"""Decomposition of held-out posteriors, in bits: ladder, union information, atoms and spectrum.

Every number is a mean over records, so it comes with one value per record, its influence function. That gives
the standard error and each record's contribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from commlearn.information.experts.posteriors import Subset
from commlearn.information.pid import UnionInformation, union_information
from commlearn.information.pid.decomposition import shapley
from commlearn.information.pid.marginals import Array, log_posterior
from commlearn.information.pid.quantise import cell_count, cell_table, soft_cells

PRIOR = 10.0  # weight, in records, of a cell's mean posterior when smoothing its counts
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


@dataclass(frozen=True)
class Measured:
    """The decomposition of one set of posteriors."""

    names: tuple[str, ...]
    entropy: float  # H(Y), the bits that certainty takes
    ladder: dict[Subset, Quantity]  # I(A; Y) of every subset A, never less than that of a subset inside it
    unions: list[Union]  # for each order k, the union information of all subsets of k modalities
    without: dict[str, Union]  # for each modality, union information of all other single modalities
    # Union information of each pair of modalities, and of each modality and the set of all others.
    pairs: dict[tuple[Subset, Subset], Union]

    @property
    def total(self) -> Quantity:
        return self.ladder[self.names]

    @property
    def spectrum(self) -> list[Quantity]:
        """S(1), ..., S(n), which sum to the total."""
        amounts = [union.quantity for union in self.unions]
        return [amounts[0], *(after - before for before, after in pairwise(amounts))]

    @property
    def unique(self) -> dict[str, Quantity]:
        """Information that the single modalities would lose without each one."""
        return {name: self.unions[0].quantity - union.quantity for name, union in self.without.items()}

    @property
    def non_exclusive(self) -> Quantity:
        """Information of the single modalities that more than one of them carries."""
        shared = self.unions[0].quantity
        for part in self.unique.values():
            shared = shared - part
        return shared

    @property
    def shapley(self) -> dict[str, Quantity]:
        """Mean gain from adding each modality, over all orders of adding them."""
        return shapley(self.ladder, self.names, Quantity(0.0, *[np.zeros_like(self.total.shares)] * 2))

    @property
    def gap(self) -> float:
        """Largest certificate of all programs, in bits."""
        return max(union.gap for union in [*self.unions, *self.without.values(), *self.pairs.values()])


def united(names: Subset, first: Subset, second: Subset) -> Subset:
    """Return the names that are in either subset, in the order of `names`."""
    return tuple(name for name in names if name in {*first, *second})


def atoms_of_two(measured: Measured, first: Subset, second: Subset) -> dict[str, Quantity]:
    """Return the redundant, unique and synergistic information of two modalities or sets of modalities."""
    union = measured.pairs[first, second].quantity
    joint = united(measured.names, first, second)
    information1, information2, total = (measured.ladder[subset] for subset in (first, second, joint))
    return {
        "redundant": information1 + information2 - union,
        "unique1": union - information2,
        "unique2": union - information1,
        "synergistic": total - union,
    }


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
    """Decompose held-out posteriors into ladder, unions and pairs.

    `logs` holds the natural log p(y | A) of every subset, (records, classes). `tolerance` is the required
    certificate of the programs, in bits. `cells` is a cache: missing cells are added for later resamplings.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    sample = _Sample(logs, labels, weights, tolerance, {} if cells is None else cells)
    names = max(logs, key=len)
    ladder = _ladder(sample, names)
    singles: list[Subset] = [(name,) for name in names]
    without = {}
    for name in names:
        rest = [single for single in singles if single != (name,)]
        without[name] = sample.union(rest, ladder, names)
    unions = _by_order(sample, ladder, names, [part.quantity for part in without.values()])
    pairs = {}
    for first, second in _pairs(names):
        pairs[first, second] = sample.union([first, second], ladder, united(names, first, second))
    return Measured(names, sample.entropy, ladder, unions, without, pairs)


def _pairs(names: Subset) -> list[tuple[Subset, Subset]]:
    """Return each pair and, if there are more than two names, each one against the rest."""
    pairs: list[tuple[Subset, Subset]] = [((a,), (b,)) for a, b in combinations(names, 2)]
    if len(names) > 2:
        pairs += [((name,), tuple(other for other in names if other != name)) for name in names]
    return pairs


def _ladder(sample: _Sample, names: Subset) -> dict[Subset, Quantity]:
    ladder: dict[Subset, Quantity] = {}
    zero = Quantity(0.0, *[np.zeros(len(sample.labels))] * 2)
    for size in range(1, len(names) + 1):
        for subset in combinations(names, size):
            parts = [ladder[part] for part in combinations(subset, size - 1) if part]
            ladder[subset] = sample.information(subset).at_least(zero, *parts)
    return ladder


def _by_order(
    sample: _Sample, ladder: dict[Subset, Quantity], names: Subset, without: list[Quantity]
) -> list[Union]:
    """Return the union information of each order, never less than that of the order before."""
    unions: list[Union] = []
    lower_bounds = without
    for size in range(1, len(names)):
        union = sample.union(list(combinations(names, size)), ladder, names)
        raised = union.quantity.at_least(*lower_bounds).at_most(ladder[names])
        unions.append(Union(raised, union.gap, union.cells))
        lower_bounds = [raised]
    return [*unions, Union(ladder[names], 0.0, ())]


class _Sample:
    """Weighted records with their posteriors; cells, tables and solved programs are cached."""

    def __init__(
        self,
        logs: Mapping[Subset, Array],
        labels: np.ndarray,
        weights: Array,
        tolerance: float,
        cells: dict[Subset, Array],
    ) -> None:
        self.logs, self.labels, self.tolerance = logs, labels, tolerance
        self.weights = weights / weights.mean()
        self.rows = np.arange(len(labels))
        classes = next(iter(logs.values())).shape[1]
        share = np.bincount(labels, weights=self.weights, minlength=classes) / len(labels)
        self.log_target = np.log2(np.maximum(share, 1e-300))
        self.entropy = float(-(share[share > 0] * np.log2(share[share > 0])).sum())
        self.cells = cells
        self.tables: dict[Subset, Array] = {}
        self.solved: dict[tuple[Subset, ...], UnionInformation] = {}

    def information(self, subset: Subset) -> Quantity:
        """Return I(A; Y): H(Y) minus the held-out cross-entropy."""
        score = self.logs[subset][self.rows, self.labels] / _BITS
        return self._quantity(score - self.log_target[self.labels])

    def union(self, subsets: list[Subset], ladder: Mapping[Subset, Quantity], names: Subset) -> Union:
        """Return the union information on cells, corrected for what quantisation lost of each subset."""
        if len(subsets) == 1:
            return Union(ladder[subsets[0]], 0.0, ())
        tables = [self._table(subset) for subset in subsets]
        solution = self._solved(subsets)
        shares = -self.log_target[self.labels]
        for subset, influence in zip(subsets, solution.influence, strict=True):
            shares = shares + (self._cells(subset) @ influence)[self.rows, self.labels]
        quantity = self._quantity(shares)
        total_bits = sum(ladder[subset].bits for subset in subsets)
        for subset, table in zip(subsets, tables, strict=True):
            quantised = (self._cells(subset) @ (log_posterior(np.maximum(table, 1e-12)) / _BITS))[
                self.rows, self.labels
            ]
            loss = ladder[subset] - self._quantity(quantised - self.log_target[self.labels])
            quantity = quantity + loss * (ladder[subset].bits / max(total_bits, 1e-12))
        quantity = quantity.at_least(*(ladder[subset] for subset in subsets))
        total = ladder[subsets[0]]
        for subset in subsets[1:]:
            total = total + ladder[subset]
        return Union(
            quantity.at_most(total, ladder[names]), solution.gap, tuple(len(table) for table in tables)
        )

    def _solved(self, subsets: list[Subset]) -> UnionInformation:
        """Solve the program once per list of subsets: "all but one" of three modalities is also a pair."""
        key = tuple(subsets)
        if key not in self.solved:
            tables = [self._table(subset) for subset in subsets]
            self.solved[key] = union_information(tables, tolerance=self.tolerance)
        return self.solved[key]

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
            self.tables[subset] = cell_table(cells, log, self.labels, PRIOR, self.weights)
        return self.tables[subset]


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


def quantities(measured: Measured) -> dict[QuantityKey, Quantity]:
    """Return every number by its key, in the order in which reports list them."""
    subsets = (measured.names,)
    numbers = {information_of(subset): value for subset, value in measured.ladder.items()}
    for pair in measured.pairs:
        numbers |= {QuantityKey(part, pair): value for part, value in atoms_of_two(measured, *pair).items()}
    for order, value in enumerate(measured.spectrum, 1):
        numbers[QuantityKey(f"spectrum {order}", subsets)] = value
    numbers |= {QuantityKey("unique", ((name,),)): value for name, value in measured.unique.items()}
    numbers[QuantityKey("non_exclusive", subsets)] = measured.non_exclusive
    return numbers | {QuantityKey("shapley", ((name,),)): value for name, value in measured.shapley.items()}
