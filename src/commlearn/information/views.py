"""One view of the data: the decomposition of posteriors, with the uncertainty of all its numbers.

It comes from standard errors, a bootstrap near zero, and a planted synergy that the experts have to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from commlearn.batch import Subset
from commlearn.information.curve import Growth
from commlearn.information.estimate import (
    Decomposition,
    Measured,
    Quantity,
    QuantityKey,
    atoms_of_two,
    information_of,
    measure,
    united,
)
from commlearn.information.experts.folds import correction, half_width, make_folds, standard_error, tail
from commlearn.information.experts.models import Recipe, fit_networks, fit_reduced, logistic, pair_directions
from commlearn.information.experts.posteriors import (
    Evidence,
    ignore_convergence_warnings,
    stack_posterior,
    workers,
)
from commlearn.information.material import Settings
from commlearn.information.nulls import label_tests
from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

REACH = 1.5  # factor on the last doubling's growth that may still be missing: 1 if errors fall as 1 / records
GROWS, GROWS_SHARE = 0.03, 0.05  # growth above which a number still grows: bits, and share of it
WHOLE = 0.005  # bits below certainty that still count as certainty
LEARNABLE = 0.6  # share of a planted synergy below which synergies may be missed
_DIRECTIONS = 8  # most directions of a modality to learn; the bits that they cost are the resolution
WIDER = 1.2  # factor on standard errors, as experts of several folds have learned from each other's records


@dataclass(frozen=True)
class Estimate:
    """A number of bits and its uncertainty."""

    bits: float  # the estimate
    low: float  # lower end of the interval
    high: float  # upper end; H(Y), certainty, if the number is still growing
    error: float  # standard error
    p: float | None = None  # p-value of "it is zero", if tested
    growing: bool = False  # experts have not learned all of it, so the number is a lower bound

    def __str__(self) -> str:
        if self.growing:
            return f"at least {self.low:.2f} bits ({self.bits:.2f} found)"
        return f"{self.bits:.2f} bits [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Limits:
    """Range of all numbers of a report, and what it cannot distinguish from nothing."""

    most: float  # H(Y)
    # Bits that learning the directions costs with this many records; fewer cannot be told from none.
    resolution: float = 0.0
    learnable: float = 1.0  # share of a planted synergy that was found


def with_interval(
    quantity: Quantity,
    level: float,
    limits: Limits,
    draws: Array | None = None,
    groups: np.ndarray | None = None,
    growth: Growth | None = None,
    combined: bool = False,
) -> Estimate:
    """Return a quantity with its interval.

    The upper end reaches as far as the number would grow if its error fell as a power of the records between
    1 / 2 and 1, plus the uncertainty of that growth. It is open if the number clearly grows, or if the
    quantity is `combined` (about a combination, which may be hard to learn) and experts would miss a synergy.
    """
    growth = growth or Growth(0.0, 0.0)
    error = max(standard_error(shares, groups) for shares in (quantity.shares, quantity.uncut))
    if draws is not None and len(draws) > 1:
        error = max(error, correction(groups) ** 0.5 * float(np.std(draws, ddof=1)))
    width, growth_width = (WIDER * half_width(value, level, groups) for value in (error, growth.error))
    above = REACH * max(growth.bits, 0.0) + float(np.hypot(width, REACH * growth_width))
    below = REACH * min(growth.bits, 0.0) - width
    grows = growth.bits > max(GROWS, GROWS_SHARE * quantity.bits)
    certain = quantity.bits > limits.most - WHOLE  # no room left to grow
    growing = not certain and (grows or (combined and limits.learnable < LEARNABLE))
    high = quantity.bits + max(above, limits.resolution)
    return Estimate(
        quantity.bits,
        low=min(max(quantity.bits + below, 0.0), limits.most),
        high=limits.most if growing else min(high, limits.most),
        error=error,
        growing=growing,
    )


def find_limits(evidence: Evidence, settings: Settings, planted: bool = True) -> Limits:
    """Return the bits that certainty takes, and the limits of what experts can see in these records.

    `planted` says whether a synergy is planted in the two widest modalities, to see how much is found.
    """
    records, classes = len(evidence.labels), int(evidence.labels.max()) + 1
    share = np.bincount(evidence.labels) / records
    blocks = sorted(evidence.blocks.values(), key=lambda block: -block.shape[1])
    directions = min(_DIRECTIONS, blocks[-1].shape[1])
    return Limits(
        most=-float(share @ np.log2(share)),
        resolution=(classes - 1) * directions / (2 * records * float(np.log(2))),
        learnable=learnable_share((blocks[0], blocks[1]), evidence.groups, settings) if planted else 1.0,
    )


def resampled_weights(records: int, count: int, seed: int, groups: np.ndarray | None = None) -> Array:
    """Return how often each record is drawn, (count, records), with whole groups drawn together."""
    draw = numpy_generator(seed, "interactions bootstrap")
    units = records if groups is None else int(groups.max()) + 1
    drawn = draw.multinomial(units, np.full(units, 1 / units), size=count).astype(np.float64)
    return drawn if groups is None else drawn[:, groups]


def learnable_share(blocks: tuple[Array, Array], groups: np.ndarray | None, settings: Settings) -> float:
    """Return the share of a planted bit of synergy that experts find, from 0 to 1.

    The planted labels depend only on the combination of two modalities: the XOR of a random half-space of
    each. If experts find little of it, they would also miss such a combination in the true labels. A flat
    learning curve does not rule that out, as it is flat at zero, too.
    """
    count, seed = settings.folds, settings.seed
    draw = numpy_generator(seed, "interactions planted")
    labels = _half_space(blocks[0], draw) ^ _half_space(blocks[1], draw)
    if np.bincount(labels, minlength=2).min() < 2 * count:
        return 0.0
    folds = make_folds(labels, groups, count, seed)
    if len(folds.unlearnable_classes(labels)):
        return 0.0
    recipe = Recipe(hidden=32, steps=True, copies=2)
    choice = partial(pair_directions, rank=2)  # experts look for two pairs of directions
    with ignore_convergence_warnings():
        experts = [
            fit_networks(blocks, labels, folds, seed, True, recipe, choice),
            fit_reduced(blocks, labels, folds, choice, logistic),
        ]
    log = stack_posterior(("first", "second"), experts, {}, labels, folds).log
    share = np.bincount(labels) / len(labels)
    entropy = -float(np.log(share) @ share)
    return float(np.clip(1 + log[np.arange(len(labels)), labels].mean() / entropy, 0.0, 1.0))


def _half_space(block: Array, draw: np.random.Generator) -> np.ndarray:
    """Return each record's side of a random plane through the median; all directions have equal weight."""
    scale = block.std(axis=0)
    side = block @ (draw.normal(size=block.shape[1]) / np.maximum(scale, 1e-9))
    above = side > np.median(side)
    # The median of a column of few values may be the largest one; then no record is above it.
    return (above if above.any() else side >= np.median(side)).astype(np.intp)


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
class View(Decomposition[Estimate]):
    """Decomposition as seen by one family of experts."""

    accuracy: dict[Subset, float]  # share of records that the posterior of each subset gets right
    balanced_accuracy: dict[Subset, float]  # mean of that share over the classes
    measured: Measured | None = None  # the underlying numbers, with each record's share; None if read back

    @property
    def pairs(self) -> list[Pair]:
        """Decompositions of each pair, and of each modality and the set of all others."""
        return [self._pair(*subsets) for subsets in self.compared]

    def _pair(self, first: Subset, second: Subset) -> Pair:
        subsets = (first, second, united(self.names, first, second))
        information1, information2, total = (self.numbers[information_of(subset)] for subset in subsets)
        return Pair(
            first,
            second,
            **atoms_of_two(self, first, second),
            total=total,
            least_redundant=max(0.0, information1.bits + information2.bits - total.bits),
            most_redundant=min(information1.bits, information2.bits),
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
    resamplings = settings.bootstrap
    if labels.max() >= _MANY_CLASSES:
        resamplings = min(resamplings, _FEW_RESAMPLINGS)
    weights = resampled_weights(len(labels), resamplings, settings.seed, folds.groups)
    # Without resamplings that miss a class, which happens with few groups; the experts are not refitted.
    weights = weights[[np.bincount(labels, weights=weight).all() for weight in weights]]

    def resampled(weight: Array) -> dict[QuantityKey, float]:
        again = measure(logs, labels, weight, _ROUGH, cells)
        return {key: value.bits for key, value in again.numbers.items()}

    with workers() as pool:
        draws = list(pool.map(resampled, weights))
    p_values = label_tests(logs, labels, folds, settings.permutations, settings.seed)
    numbers = {}
    for key, value in measured.numbers.items():
        change = growth.get(key, Growth(0.0, 0.0))
        resamples = np.array([draw[key] for draw in draws])
        number = with_interval(
            value, settings.level, limits, resamples, folds.groups, change, combined=_combined(key)
        )
        p = _p_value(key, number, p_values, measured.names, folds.groups, change.bits)
        numbers[key] = replace(number, p=p)
    predicted = {subset: log.argmax(axis=1) for subset, log in logs.items()}
    return View(
        measured.names,
        measured.entropy,
        measured.gap,
        measured.cells,
        numbers,
        accuracy={subset: float((classes == labels).mean()) for subset, classes in predicted.items()},
        balanced_accuracy={
            subset: float(balanced_accuracy_score(labels, classes)) for subset, classes in predicted.items()
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
