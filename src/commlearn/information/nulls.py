"""Permutation tests: labels exchanged among records, and modalities exchanged within each class.

The experts stay as they were fitted on other folds; only held-out records change places, within their fold.
Records of one group move together, as they may be alike for other reasons: a group takes the labels of
another one, row by row, stretched or shortened if their sizes differ. Under the null hypothesis, a held-out
fold is equally likely in any of these orders, so the rank of the observed value among the exchanged ones is a
p-value, without refitting anything.

That holds for one fold. With several folds, experts have learned from each other's held-out records: what the
first fold seems to show about the second, the second also shows about the first, and the variance of the mean
over folds is up to twice that of folds exchanged separately. So the exchanged values are spread around their
mean by the root of two before the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from commlearn.batch import Subset
from commlearn.information.experts.folds import Folds
from commlearn.information.experts.posteriors import Posterior
from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

_BITS = float(np.log(2))
# Most records, and records times classes, to exchange; if there are more, a random part is used.
_MOST_RECORDS, _MOST_CELLS = 2000, 12_000
# Fewest records of that part, which is limited because each exchange runs all experts again.
_FEWEST_RECORDS = 500
_ENOUGH = 15  # number of exchanges as good as the observed value after which the test stops
_ARRANGEMENTS = 20  # distinct arrangements needed: with fewer, even the best one has a share above 0.05
_TRIALS = 200  # number of exchanges within which that many arrangements must come up
_SPREAD = 2**0.5  # spread of a mean over folds, relative to that of folds exchanged separately


@dataclass(frozen=True)
class Combination:
    """Test of whether the combination matters beyond what independent modalities would say together."""

    # Share of within-class permutations that fit the joint experts as well as the data does; None if there is
    # too little to exchange, or no joint posterior.
    p: float | None
    independent: float  # I(all; Y), in bits, if modalities were independent given the class


class Exchange:
    """Random exchange of records within their part, with whole groups moving together.

    Parts and groups are numbered from 0; without groups, each record moves alone.

    Example:
        >>> exchange = Exchange(np.zeros(6, dtype=int), np.array([0, 0, 1, 1, 2, 2]))
        >>> sorted(exchange.draw(np.random.default_rng(0)).tolist())
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, parts: np.ndarray, groups: np.ndarray | None = None) -> None:
        self.groups = np.arange(len(parts)) if groups is None else groups
        unit_codes = parts * (int(self.groups.max()) + 1) + self.groups
        _, first, self.unit, self.sizes = np.unique(
            unit_codes, return_index=True, return_inverse=True, return_counts=True
        )
        # Part and group of each unit, which is the records of one group in one part.
        self.parts, self.whose = parts[first], self.groups[first]
        self.rows = np.argsort(self.unit, kind="stable")  # records, unit by unit
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.place = np.empty(len(parts), dtype=np.intp)  # position of each record in its unit
        self.place[self.rows] = np.arange(len(parts)) - np.repeat(self.starts, self.sizes)

    def draw(self, draw: np.random.Generator) -> np.ndarray:
        """Return, for each record, the one whose place it takes.

        Groups with records in the same parts are exchanged in the same way in all of them.
        """
        order = draw.random(int(self.groups.max()) + 1)[self.whose]
        donors = np.lexsort((order, self.parts))[self.unit]
        return self.rows[self.starts[donors] + self.place * self.sizes[donors] // self.sizes[self.unit]]

    def suffices(self, values: np.ndarray) -> bool:
        """Whether the records' values have enough distinct arrangements for one to stand out."""
        draw, arrangements = numpy_generator(0, "interactions arrangements"), set()
        for _ in range(_TRIALS):
            arrangements.add(values[self.draw(draw)].tobytes())
            if len(arrangements) == _ARRANGEMENTS:
                return True
        return False


def label_tests(
    logs: Mapping[Subset, Array], labels: np.ndarray, folds: Folds, permutations: int, seed: int
) -> dict[Subset, float | None]:
    """Return p-values of "the subset says nothing about the target"; None if too little can be exchanged."""
    exchange = Exchange(folds.of, folds.groups)
    if not exchange.suffices(labels):
        return dict.fromkeys(logs)
    draw = numpy_generator(seed, "interactions labels shuffled")
    rows, log_share = np.arange(len(labels)), np.log(np.bincount(labels) / len(labels))
    gains = {subset: log - log_share for subset, log in logs.items()}  # no credit for the shares of classes
    chance: dict[Subset, list[float]] = {subset: [] for subset in logs}
    for _ in range(permutations):
        exchanged = labels[exchange.draw(draw)]
        for subset, gain in gains.items():
            chance[subset].append(float(gain[rows, exchanged].mean()))
    return {subset: _rank(float(gain[rows, labels].mean()), chance[subset]) for subset, gain in gains.items()}


def combination_test(
    logs: Mapping[Subset, Array],
    posteriors: Mapping[Subset, Posterior],
    labels: np.ndarray,
    folds: Folds,
    permutations: int,
    seed: int,
) -> Combination:
    """Test the combination by exchanging all modalities but the first within class and fold.

    This keeps all marginals and destroys the combination. Nothing is tested without a joint posterior of all
    modalities, which reads any pairing.
    """
    names = max(logs, key=len)
    joint = posteriors.get(names)
    draw = numpy_generator(seed, "interactions modalities shuffled")
    limit = max(_FEWEST_RECORDS, min(_MOST_RECORDS, _MOST_CELLS // (int(labels.max()) + 1)))
    rows = np.sort(draw.permutation(len(labels))[:limit])
    target = np.log(np.bincount(labels) / len(labels))
    parts, labels = (folds.of * (labels.max() + 1) + labels)[rows], labels[rows]
    exchange = Exchange(parts, None if folds.groups is None else folds.groups[rows])
    tested = joint is not None and exchange.suffices(rows)
    exchange = exchange if tested else Exchange(parts)  # single records will do for the mean
    positions = np.arange(len(rows))
    observed = float(joint.log[rows, labels].mean()) if joint is not None else 0.0
    chance: list[float] = []
    means = []
    for _ in range(permutations):
        paired = {name: rows[exchange.draw(draw)] if index else rows for index, name in enumerate(names)}
        product = sum(logs[(name,)][paired[name]] for name in names)
        means.append(log_softmax(product - (len(names) - 1) * target, axis=1)[positions, labels].mean())
        if joint is not None and tested:
            chance.append(float(joint.paired(paired)[positions, labels].mean()))
            if np.count_nonzero(np.array(chance) >= observed - 1e-12) == _ENOUGH:
                break
    entropy = -float(np.exp(target) @ target)
    independent = (entropy + float(np.mean(means))) / _BITS
    return Combination(_rank(observed, chance) if tested else None, max(independent, 0.0))


def missing_tests(labels: np.ndarray, folds: Folds, combination: bool = True) -> list[str]:
    """Return a warning for each test that is left out because there is too little to exchange."""
    missing = []
    if not Exchange(folds.of, folds.groups).suffices(labels):
        missing.append(("the parts have no p-values", "labels"))
    parts = folds.of * (int(labels.max()) + 1) + labels
    if combination and not Exchange(parts, folds.groups).suffices(np.arange(len(labels))):
        missing.append(("the combination has no p-value", "modalities among records of one class"))
    units = f"{len(labels)} records" if folds.groups is None else f"{folds.groups.max() + 1} groups"
    return [
        f"{consequence}: {units} in {folds.count} folds allow fewer than {_ARRANGEMENTS} distinct "
        f"permutations of {exchanged} within folds, too few for p < 0.05; give more records, or more or "
        "finer groups"
        for consequence, exchanged in missing
    ]


def _rank(observed: float, chance: list[float]) -> float:
    """Return the p-value: the share of values, counting the observed one, that are at least as good."""
    values = np.array(chance)
    spread = values.mean() + _SPREAD * (values - values.mean())
    return float(1 + np.count_nonzero(spread >= observed - 1e-12)) / (1 + len(values))
