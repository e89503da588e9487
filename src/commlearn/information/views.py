"""One view of the data: the decomposition of posteriors, with the uncertainty of all its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from commlearn.information.curve import Growth
from commlearn.information.estimate import (
    ATOMS,
    Measured,
    QuantityKey,
    information_of,
    measure,
    quantities,
    united,
)
from commlearn.information.evidence import Evidence
from commlearn.information.experts.posteriors import Subset
from commlearn.information.experts.standard_errors import tail
from commlearn.information.nulls import label_tests
from commlearn.information.pid.marginals import Array
from commlearn.information.settings import Settings
from commlearn.information.uncertainty import Estimate, Limits, bootstrap, resampled_weights, with_interval

# Number of classes above which resamplings are limited, and to how many.
_MANY_CLASSES, _FEW_RESAMPLINGS = 20, 5
_ROUGH = 1e-3  # certificate of the programs in resamplings, in bits: far below their variation


@dataclass(frozen=True)
class Pair:
    """Decomposition of two modalities, or of one and the set of all others."""

    first: Subset
    second: Subset
    redundant: Estimate
    unique1: Estimate
    unique2: Estimate
    synergistic: Estimate
    total: Estimate
    least_redundant: float  # without any assumption: max(0, I1 + I2 - I12) <= redundant <= min(I1, I2)
    most_redundant: float


@dataclass(frozen=True)
class View:
    """Decomposition as seen by one family of experts."""

    names: Subset  # names of the modalities, in order
    entropy: float  # H(Y), the bits that certainty takes
    gap: float  # largest certificate of its programs, in bits
    cells: list[tuple[int, ...]]  # for each order, cells of the posterior of each subset of that size
    numbers: dict[QuantityKey, Estimate]  # every quantity of the decomposition
    accuracy: dict[Subset, float]  # share of records that the posterior of each subset gets right
    balanced_accuracy: dict[Subset, float]  # mean of that share over the classes
    measured: Measured | None = None  # the underlying numbers, with each record's share; None if read back

    @property
    def total(self) -> Estimate:
        return self.ladder[self.names]

    @property
    def ladder(self) -> dict[Subset, Estimate]:
        """I(A; Y) of every subset."""
        return {key.subsets[0]: value for key, value in self.numbers.items() if key.part == "information"}

    @property
    def pairs(self) -> list[Pair]:
        """Decompositions of each pair, and of each modality and the set of all others."""
        return [self._pair(*key.subsets) for key in self.numbers if key.part == "redundant"]

    @property
    def spectrum(self) -> list[Estimate]:
        """The order spectrum, S(1), ..., S(n)."""
        orders = range(1, len(self.names) + 1)
        return [self.numbers[QuantityKey(f"spectrum {order}", (self.names,))] for order in orders]

    @property
    def unique(self) -> dict[str, Estimate]:
        """Unique information of each modality among all."""
        return {name: self.numbers[QuantityKey("unique", ((name,),))] for name in self.names}

    @property
    def non_exclusive(self) -> Estimate:
        """Information that more than one single modality carries."""
        return self.numbers[QuantityKey("non_exclusive", (self.names,))]

    @property
    def shapley(self) -> dict[str, Estimate]:
        """Shapley value of each modality."""
        return {name: self.numbers[QuantityKey("shapley", ((name,),))] for name in self.names}

    def _pair(self, first: Subset, second: Subset) -> Pair:
        total = self.numbers[information_of(united(self.names, first, second))]
        information1, information2 = (self.numbers[information_of(subset)].bits for subset in (first, second))
        return Pair(
            first,
            second,
            **{part: self.numbers[QuantityKey(part, (first, second))] for part in ATOMS},
            total=total,
            least_redundant=max(0.0, information1 + information2 - total.bits),
            most_redundant=min(information1, information2),
        )


def make_view(
    logs: Mapping[Subset, Array],
    evidence: Evidence,
    settings: Settings,
    growth: Mapping[QuantityKey, Growth] | None = None,
    limits: Limits | None = None,
) -> View:
    """Decompose posteriors, and return all numbers with intervals and p-values."""
    growth, labels, folds = growth or {}, evidence.labels, evidence.folds
    cells: dict[Subset, Array] = {}
    measured = measure(logs, labels, cells=cells)
    limits = limits or Limits(measured.entropy)
    resamplings = min(
        settings.bootstrap, _FEW_RESAMPLINGS if labels.max() >= _MANY_CLASSES else settings.bootstrap
    )
    weights = resampled_weights(len(labels), resamplings, settings.seed, folds.groups)
    draws = bootstrap(  # without resamplings that miss a class, which happens with few groups
        lambda weight: measure(logs, labels, weight, _ROUGH, cells),
        lambda resampled: {key: value.bits for key, value in quantities(resampled).items()},
        weights[[np.bincount(labels, weights=weight).all() for weight in weights]],
    )
    p_values = label_tests(logs, labels, folds, settings.permutations, settings.seed)
    numbers = {}
    for key, value in quantities(measured).items():
        change = growth.get(key)
        number = with_interval(
            value, settings.level, limits, draws.get(key), folds.groups, change, combined=_combined(key)
        )
        bias = 0.0 if change is None else change.bits
        numbers[key] = replace(number, p=_p_value(key, number, p_values, measured.names, folds.groups, bias))
    correct = {subset: log.argmax(axis=1) == labels for subset, log in logs.items()}
    return View(
        measured.names,
        measured.entropy,
        measured.gap,
        [union.cells for union in measured.unions],
        numbers,
        accuracy={subset: float(hits.mean()) for subset, hits in correct.items()},
        balanced_accuracy={
            subset: float(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))
            for subset, hits in correct.items()
        },
        measured=measured,
    )


def _p_value(
    key: QuantityKey,
    number: Estimate,
    p_values: Mapping[Subset, float | None],
    names: Subset,
    groups: np.ndarray | None = None,
    bias: float = 0.0,
) -> float | None:
    """Return the p-value of "this part is zero"; None if labels could not be exchanged.

    It is the largest of the part's own one-sided test and the tests of "this source says nothing". A part
    that shrinks with more records is tested as if it had shrunk by the same amount again, as its interval
    reaches there too. So modalities that say the same are credited with little unique information.
    """
    if key.part == "shapley":
        return None
    tests = [p for p in (p_values[subset] for subset in _sources(key, names)) if p is not None]
    if not tests:
        return None
    if number.bits <= 0:
        return 1.0
    if key.part == "information":
        return tests[0]
    return max(tail(number.bits + min(bias, 0.0), number.error, groups), *tests)


def _combined(key: QuantityKey) -> bool:
    """Whether a number is about a combination of modalities."""
    if key.part == "information":
        return len(key.subsets[0]) > 1
    return key.part == "synergistic" or (key.part.startswith("spectrum") and key.part != "spectrum 1")


def _sources(key: QuantityKey, names: Subset) -> list[Subset]:
    """Return the subsets that must say something for a part to exist."""
    if key.part == "redundant":
        return list(key.subsets)
    if key.part == "unique2":
        return [key.subsets[1]]
    return [united(names, *key.subsets)] if key.part == "synergistic" else [key.subsets[0]]
