"""What chance would give: labels exchanged, and modalities exchanged within each class.

The experts stay as they were fitted on other folds; only held-out records take each other's places, within
their fold. Records of one group do so together, as they may be alike for reasons of their own: a group takes
the labels of another one, row by row, stretched or shortened where their sizes differ. Under the null
hypothesis a held-out fold is as likely in any of these orders, so the rank of what was seen among what was
exchanged is a p-value, without fitting anything again.

That holds for one fold. Over several, experts have learned from each other's held-out records: what the first
fold seems to show of the second it shows the other way round too, and the mean over folds varies with up to
twice the variance of folds exchanged apart. What was exchanged is spread by the root of two around its mean
before it is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from commlearn.information.experts.folds import Folds
from commlearn.information.experts.posteriors import Posterior, Subset
from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

_BITS = float(np.log(2))
_MOST, _MOST_CELLS = (
    2000,
    12_000,
)  # records, and records times classes, that are exchanged, of more a random part
_FEWEST = 500  # of them: each exchange asks all experts anew
_ENOUGH = 15  # exchanges as good as what was seen after which none more are tried
_LEAST = 20  # arrangements: of fewer, the best one has a share above 0.05
_TRIED = 200  # exchanges in which that many different arrangements should come up
_SPREAD = 2**0.5  # of a mean over folds, in that of folds apart


@dataclass(frozen=True)
class Combination:
    """Does the combination matter beyond what independent modalities would say together?"""

    # The share of within-class permutations that fit the joint experts as well as the data does; None where
    # there is too little to exchange.
    p: float | None
    independent: float  # I(all; Y), in bits, if modalities were independent given the class


class Exchange:
    """Records that take each other's places within their part, whole groups together.

    Parts and groups are numbered from 0; without groups each record goes by itself.

    Example:
        >>> exchange = Exchange(np.zeros(6, dtype=int), np.array([0, 0, 1, 1, 2, 2]))
        >>> sorted(exchange.draw(np.random.default_rng(0)).tolist())
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, parts: np.ndarray, groups: np.ndarray | None = None) -> None:
        self.groups = np.arange(len(parts)) if groups is None else groups
        together = parts * (int(self.groups.max()) + 1) + self.groups
        _, first, self.unit, self.sizes = np.unique(
            together, return_index=True, return_inverse=True, return_counts=True
        )
        self.parts, self.whose = (
            parts[first],
            self.groups[first],
        )  # of each unit: a part's records of one group
        self.rows = np.argsort(self.unit, kind="stable")  # unit by unit
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.place = np.empty(len(parts), dtype=np.intp)  # of a record in its unit
        self.place[self.rows] = np.arange(len(parts)) - np.repeat(self.starts, self.sizes)

    def draw(self, draw: np.random.Generator) -> np.ndarray:
        """For each record, the one whose place it takes.

        Groups with records in the same parts are exchanged alike in all of them.
        """
        order = draw.random(int(self.groups.max()) + 1)[self.whose]
        donors = np.lexsort((order, self.parts))[self.unit]
        return self.rows[self.starts[donors] + self.place * self.sizes[donors] // self.sizes[self.unit]]

    def suffices(self, values: np.ndarray) -> bool:
        """Whether the records' values have so many different arrangements that one can stand out."""
        draw, seen = numpy_generator(0, "interactions arrangements"), set()
        for _ in range(_TRIED):
            seen.add(values[self.draw(draw)].tobytes())
            if len(seen) == _LEAST:
                return True
        return False


def label_tests(
    logs: Mapping[Subset, Array], labels: np.ndarray, folds: Folds, permutations: int, seed: int
) -> dict[Subset, float | None]:
    """p-values of "the subset says nothing about the target"; None where there is too little to exchange."""
    exchange = Exchange(folds.of, folds.groups)
    if not exchange.suffices(labels):
        return dict.fromkeys(logs)
    draw = numpy_generator(seed, "interactions labels shuffled")
    rows, log_share = np.arange(len(labels)), np.log(np.bincount(labels) / len(labels))
    gains = {subset: log - log_share for subset, log in logs.items()}  # more of a frequent class says nothing
    chance: dict[Subset, list[float]] = {subset: [] for subset in logs}
    for _ in range(permutations):
        others = labels[exchange.draw(draw)]
        for subset, gain in gains.items():
            chance[subset].append(float(gain[rows, others].mean()))
    return {subset: _rank(float(gain[rows, labels].mean()), chance[subset]) for subset, gain in gains.items()}


def combination_test(
    logs: Mapping[Subset, Array],
    posteriors: Mapping[Subset, Posterior],
    labels: np.ndarray,
    folds: Folds,
    permutations: int,
    seed: int,
) -> Combination:
    """Exchange all modalities but the first within class and fold: all marginals stay, the combination goes.

    Nothing is tested without a posterior of all of them together, which reads any pairing.
    """
    names = max(logs, key=len)
    joint = posteriors.get(names)
    draw = numpy_generator(seed, "interactions modalities shuffled")
    most = max(_FEWEST, min(_MOST, _MOST_CELLS // (int(labels.max()) + 1)))
    rows = np.sort(draw.permutation(len(labels))[:most])
    target = np.log(np.bincount(labels) / len(labels))
    within, labels = (folds.of * (labels.max() + 1) + labels)[rows], labels[rows]
    exchange = Exchange(within, None if folds.groups is None else folds.groups[rows])
    tested = joint is not None and exchange.suffices(rows)
    exchange = exchange if tested else Exchange(within)  # enough for the mean
    places = np.arange(len(rows))
    seen = float(joint.log[rows, labels].mean()) if joint is not None else 0.0
    chance: list[float] = []
    apart = []
    for _ in range(permutations):
        paired = {name: rows[exchange.draw(draw)] if place else rows for place, name in enumerate(names)}
        product = sum(logs[(name,)][paired[name]] for name in names)
        apart.append(log_softmax(product - (len(names) - 1) * target, axis=1)[places, labels].mean())
        if joint is not None and tested:
            chance.append(float(joint.paired(paired)[places, labels].mean()))
            if np.count_nonzero(np.array(chance) >= seen - 1e-12) == _ENOUGH:
                break
    entropy = -float(np.exp(target) @ target)
    independent = (entropy + float(np.mean(apart))) / _BITS
    return Combination(_rank(seen, chance) if tested else None, max(independent, 0.0))


def missing_tests(labels: np.ndarray, folds: Folds, combination: bool = True) -> list[str]:
    """A warning for each test that is left out because there is too little to exchange."""
    missing = []
    if not Exchange(folds.of, folds.groups).suffices(labels):
        missing.append(("the parts have no p-values", "labels"))
    within = folds.of * (int(labels.max()) + 1) + labels
    if combination and not Exchange(within, folds.groups).suffices(np.arange(len(labels))):
        missing.append(("the combination has no p-value", "modalities of one class"))
    units = f"{len(labels)} records" if folds.groups is None else f"{folds.groups.max() + 1} groups"
    return [
        f"{what}: {units} in {folds.count} folds allow fewer than {_LEAST} distinct permutations of "
        f"{exchanged} within folds, too few for p < 0.05; give more records, or more or finer groups"
        for what, exchanged in missing
    ]


def _rank(seen: float, chance: list[float]) -> float:
    """Share of what chance gives, and of what was seen, that is as good as what was seen."""
    values = np.array(chance)
    wide = values.mean() + _SPREAD * (values - values.mean())
    return float(1 + np.count_nonzero(wide >= seen - 1e-12)) / (1 + len(values))
