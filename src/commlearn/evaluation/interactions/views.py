"""One view of the data: posteriors, their decomposition, and how sure all of its numbers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from commlearn.evaluation.interactions.estimate import Measured, Quantity, atoms_of_two, measure
from commlearn.evaluation.interactions.folds import Folds
from commlearn.evaluation.interactions.nulls import label_test
from commlearn.evaluation.interactions.posteriors import Subset
from commlearn.evaluation.interactions.settings import Settings
from commlearn.evaluation.interactions.uncertainty import (
    Known,
    bootstrap,
    known,
    resampled_weights,
    standard_error,
)
from commlearn.evaluation.marginals import Array

_ROUGH = 1e-3  # certificate of resamplings, in bits: far below what they vary by

__all__ = ["Pair", "View", "make_view", "subset_name"]


@dataclass(frozen=True)
class Pair:
    """The decomposition of two modalities, or of one against all others."""

    first: Subset
    second: Subset
    redundant: Known
    unique1: Known
    unique2: Known
    synergistic: Known
    total: Known
    least_redundant: float  # without any assumption: max(0, I1 + I2 - I12) <= redundant <= min(I1, I2)
    most_redundant: float


@dataclass(frozen=True)
class View:
    """What one family of experts sees.

    Attributes:
        ladder: I(A; Y) of every subset.
        accuracy: share of records that the posterior of each subset gets right.
        balanced_accuracy: mean of the classes' shares.
        pairs: decompositions of two.
        spectrum: S(1), ..., S(n).
        unique: of each modality among all.
        non_exclusive: what more than one single modality carries.
        shapley: of each modality.
        measured: the numbers behind, with each record's share.
    """

    ladder: dict[Subset, Known]
    accuracy: dict[Subset, float]
    balanced_accuracy: dict[Subset, float]
    pairs: list[Pair]
    spectrum: list[Known]
    unique: dict[str, Known]
    non_exclusive: Known
    shapley: dict[str, Known]
    measured: Measured

    @property
    def total(self) -> Known:
        return self.ladder[self.measured.names]


def subset_name(subset: Subset) -> str:
    return " + ".join(subset)


def numbers_of(measured: Measured) -> dict[str, Quantity]:
    """Every quantity by a name that says what it is."""
    found = {f"I:{subset_name(subset)}": value for subset, value in measured.ladder.items()}
    for first, second in measured.pairs:
        for part, value in atoms_of_two(measured, first, second).items():
            found[f"{part}:{subset_name(first)}|{subset_name(second)}"] = value
    found |= {f"S:{order}": value for order, value in enumerate(measured.spectrum, 1)}
    found |= {f"U:{name}": value for name, value in measured.unique.items()}
    found |= {f"shapley:{name}": value for name, value in measured.shapley.items()}
    return found | {"non_exclusive": measured.non_exclusive}


def make_view(
    logs: Mapping[Subset, Array],
    labels: np.ndarray,
    names: Sequence[str],
    folds: Folds,
    settings: Settings,
    groups: np.ndarray | None = None,
    bias: Mapping[str, float] | None = None,
) -> View:
    """Decompose and say how sure.

    Args:
        logs: held-out natural log p(y | A) of every subset.
        labels: 0, ..., classes - 1.
        names: of the modalities, in order.
        folds: within which labels are shuffled.
        settings: of intervals and tests.
        groups: of the records, 0, 1, ..., which are drawn together.
        bias: how much more data would add to each number.
    """
    cells: dict[Subset, Array] = {}
    measured = measure(logs, labels, names, cells=cells)
    quantities = numbers_of(measured)
    weights = resampled_weights(len(labels), settings.bootstrap, settings.seed, groups)
    draws = bootstrap(
        lambda weight: measure(logs, labels, names, weight, _ROUGH, cells),
        lambda again: {name: value.bits for name, value in numbers_of(again).items()},
        weights,
    )
    says = {
        subset: label_test(log, labels, folds, settings.permutations, settings.seed)
        for subset, log in logs.items()
    }
    sure = {
        name: known(
            value,
            settings.level,
            draws.get(name),
            groups,
            (bias or {}).get(name, 0.0),
            _p_value(name, value, says, measured.names, groups, (bias or {}).get(name, 0.0)),
        )
        for name, value in quantities.items()
    }
    right = {subset: log.argmax(axis=1) == labels for subset, log in logs.items()}
    return View(
        ladder={subset: sure[f"I:{subset_name(subset)}"] for subset in measured.ladder},
        accuracy={subset: float(hits.mean()) for subset, hits in right.items()},
        balanced_accuracy={
            subset: float(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))
            for subset, hits in right.items()
        },
        pairs=[_pair(measured, sure, first, second) for first, second in measured.pairs],
        spectrum=[sure[f"S:{order}"] for order in range(1, len(measured.names) + 1)],
        unique={name: sure[f"U:{name}"] for name in measured.names},
        non_exclusive=sure["non_exclusive"],
        shapley={name: sure[f"shapley:{name}"] for name in measured.names},
        measured=measured,
    )


def _pair(measured: Measured, sure: Mapping[str, Known], first: Subset, second: Subset) -> Pair:
    between = f"{subset_name(first)}|{subset_name(second)}"
    both = tuple(name for name in measured.names if name in {*first, *second})
    alone1, alone2, total = (measured.ladder[subset].bits for subset in (first, second, both))
    parts = {part: sure[f"{part}:{between}"] for part in ("redundant", "unique1", "unique2", "synergistic")}
    return Pair(
        first,
        second,
        **parts,
        total=sure[f"I:{subset_name(both)}"],
        least_redundant=max(0.0, alone1 + alone2 - total),
        most_redundant=min(alone1, alone2),
    )


def _p_value(
    name: str,
    value: Quantity,
    says: Mapping[Subset, float],
    names: Subset,
    groups: np.ndarray | None,
    bias: float = 0.0,
) -> float | None:
    """Of "this part is zero": the larger of "those it comes from say nothing" and its own one-sided test.

    A part that shrinks with more records is tested as it would be after as much shrinking again, as the
    interval reaches there too: little that is unique is claimed of modalities that say the same.
    """
    part, _, of = name.partition(":")
    if part == "shapley":
        return None
    if part == "I":
        return says[tuple(of.split(" + "))] if value.bits > 0 else 1.0
    if value.bits <= 0:
        return 1.0
    sources = _sources(part, of, names)
    error = standard_error(value.shares, groups)
    own = float(norm.sf((value.bits + min(bias, 0.0)) / error)) if error > 0 else 0.0
    return max([own, *(says[subset] for subset in sources)])


def _sources(part: str, of: str, names: Subset) -> list[Subset]:
    """Subsets without which a part cannot be there."""
    if part == "U":
        return [(of,)]
    if part in ("S", "non_exclusive"):
        return [names]
    first, second = (tuple(side.split(" + ")) for side in of.split("|"))
    both = tuple(name for name in names if name in {*first, *second})
    return {
        "redundant": [first, second],
        "unique1": [first],
        "unique2": [second],
        "synergistic": [both],
    }[part]
