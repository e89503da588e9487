"""Measures of predictions: each for many weightings of the same test records at once.

A bootstrap sample is a weighting: how often each record was drawn. A measure takes weights of shape
(draws, records) and gives (draws,); a single row of ones gives the plain value. The samples are the same for
every method that is scored on the same records.

Where records belong to groups, groups are drawn, each with all of its records. Of n units of a stratum n - 1
are drawn and weigh n / (n - 1) each, so that few units vary as much as they should (Rao and Wu, 1988), and
draws are spread about their centre as Student's t asks for as many units.

Records may also be pairs of things, such as images, each of which stands in many records. Then the things of
each side are drawn, and a record weighs the product (the crossed bootstrap of Owen, 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy.stats import norm, t

from commlearn.seeds import numpy_generator


def once(records: int) -> np.ndarray:
    """Every record one time, (1, records)."""
    return np.ones((1, records), dtype=np.float32)


def accuracy(right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the records that are right."""
    return (weights @ right.astype(np.float32)) / weights.sum(axis=1)


def mean_recall(right: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Balanced accuracy: the mean over the classes of the share of their records that are right."""
    recalls = [accuracy(right[labels == label], weights[:, labels == label]) for label in np.unique(labels)]
    return np.mean(recalls, axis=0)


def auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: how often a positive record scores above a negative one, ties half."""
    hits, misses = _by_score(scores, positive, weights)  # (draws, distinct scores), the highest first
    above = np.cumsum(hits, axis=1) - hits / 2
    both = np.einsum("ij,ij->i", above, misses, dtype=np.float64)
    return both / (_total(hits) * _total(misses))


def auprc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision: the precision at each distinct score, weighted by the recall it adds."""
    hits, misses = _by_score(scores, positive, weights)
    above = np.cumsum(hits, axis=1)
    has_hits = hits.any(axis=0)  # at other scores no recall is added
    precision = above[:, has_hits] / np.maximum(np.cumsum(hits + misses, axis=1)[:, has_hits], 1e-12)
    return np.einsum("ij,ij->i", hits[:, has_hits], precision, dtype=np.float64) / _total(hits)


def mean_over_labels(
    measure: object, scores: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The mean of `auroc` or `auprc` over labels; one that all or no test record has is left out."""
    of_labels = [
        measure(scores[:, label], positive[:, label], weights)  # type: ignore[operator]
        for label in range(positive.shape[1])
        if 0 < positive[:, label].sum() < len(positive)
    ]
    values = np.array(of_labels).reshape(-1, len(weights))
    with np.errstate(invalid="ignore"):  # a draw may have no label that is left
        return np.nansum(values, axis=0) / (~np.isnan(values)).sum(axis=0)


def f1(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray, weighted: bool) -> np.ndarray:
    """F1 of each label, averaged over labels: equally, or weighted by how many records have the label."""
    hits = weights @ (predicted & truth).astype(np.float32)  # (draws, labels)
    predicted_count = weights @ predicted.astype(np.float32)
    there = weights @ truth.astype(np.float32)
    scores = 2 * hits / np.maximum(predicted_count + there, 1e-12)
    if not weighted:
        return scores.mean(axis=1)
    return (scores * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1e-12)


def squared_error(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared error of each output, (draws, outputs)."""
    return (weights @ (predicted - truth) ** 2) / weights.sum(axis=1, keepdims=True)


def r2(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the variance of each output that is explained, (draws, outputs); NaN where nothing varies."""
    count = weights.sum(axis=1, keepdims=True)
    centred = truth - truth.mean(axis=0)
    variance = weights @ centred**2 / count - (weights @ centred / count) ** 2
    variance = np.where(variance > 1e-6 * (centred**2).mean(axis=0), variance, np.nan)  # nothing to explain
    return 1 - squared_error(predicted, truth, weights) / variance


def main_score(sort: str, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The figure that a target of this sort is summed up by, (draws,): see `MEASURES`."""
    if sort == "class":
        return mean_recall(truth == predicted, truth, weights)
    if sort == "number":
        return r2(predicted, truth, weights).mean(axis=1)
    return f1(predicted.astype(bool), truth.astype(bool), weights, weighted=True)


def strata_of(sort: str, truth: np.ndarray) -> np.ndarray:
    """What every draw of records keeps the shares of: classes."""
    return truth if sort == "class" else np.zeros(len(truth), dtype=np.int64)


def _by_score(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the positive and of the negative records at each distinct score, the highest first.

    In float32, which holds every count of up to 16 million records exactly, and their halves up to 8.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    drawn = weights[:, order]
    hits = drawn * positive[order]
    if len(starts) < len(order):
        hits, drawn = (np.add.reduceat(part, starts, axis=1) for part in (hits, drawn))
    return hits, drawn - hits


def _total(weights: np.ndarray) -> np.ndarray:
    return weights.sum(axis=1, dtype=np.float64)


Measure = Callable[[np.ndarray], np.ndarray]
"""From weights (draws, records) to values (draws,)."""

DRAWS = 1000
AT_A_TIME = 4_000_000  # weights in memory
AT_ONCE = 500_000  # of them that are measured together, which a processor's cache holds
NO_SPREAD = 1e-6  # width of an interval of draws that are all the same
ALONE = 0.2  # of the classes may have one group each in an interval that leaves them out
SHARE = (0.0, 1.0)
SHARES = ("balanced_accuracy", "accuracy", "auroc", "auprc", "weighted_f1", "macro_f1")
LIMITS = {"r2": (-np.inf, 1.0), "mse": (0.0, np.inf), **dict.fromkeys(SHARES, SHARE)}
"""Between which values a measure lies."""


def draws(
    strata: np.ndarray, seed: int = 0, count: int = DRAWS, groups: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """What each record weighs in each draw, in blocks of (draws, records).

    All strata keep their weight, so that a rare class is never missing; groups with records of several strata
    are one stratum.

    Args:
        strata: of each record.
        seed: of the draws.
        count: how many.
        groups: of each record; (records, sides) where each is drawn by all of its sides.
    """
    generator = numpy_generator(seed, "probe bootstrap")
    sides = [_units(strata, side) for side in _sides(groups)]
    block = max(1, AT_A_TIME // max(len(strata), 1))
    for start in range(0, count, block):
        size = min(block, count - start)
        each = [_drawn(stratum, size, generator) for _, stratum in sides]
        yield (
            each[0]
            if groups is None
            else np.prod([one[:, units] for one, (units, _) in zip(each, sides, strict=True)], axis=0)
        )


def _drawn(stratum: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """What each unit weighs in each of some draws, (draws, units)."""
    weights = np.zeros((size, len(stratum)), dtype=np.float32)
    for one in np.unique(stratum):
        members = np.flatnonzero(stratum == one)
        fewer = max(len(members) - 1, 1)
        drawn = generator.integers(len(members), size=(size, fewer))
        flat = drawn + len(members) * np.arange(size)[:, None]
        counts = np.bincount(flat.ravel(), minlength=size * len(members))
        weights[:, members] = counts.reshape(size, -1) * (len(members) / fewer)
    return weights


def widening(strata: np.ndarray, groups: np.ndarray | None = None) -> float:
    """By how much an interval of Student's t is wider than a normal one, for as many units.

    The strata's variances are taken as alike, so that those with few units count most (Welch and
    Satterthwaite). Infinite where there is no estimate: of one unit alone, or where more than a fifth of the
    classes have a single group, of which nobody knows how it would differ from others.

    Example:
        >>> round(widening(np.zeros(10)), 3), round(widening(np.arange(4)), 3)
        (1.154, inf)
    """
    return max(_widening(_units(strata, side)[1], groups is not None) for side in _sides(groups))


def _widening(stratum: np.ndarray, grouped: bool) -> float:
    counts = np.unique(stratum, return_counts=True)[1]
    alone = counts == 1
    if alone.all() or (grouped and alone.mean() > ALONE):
        return float("inf")
    shares = 1 / counts[~alone]  # of the variance of a mean over strata
    freedom = shares.sum() ** 2 / (shares**3 / (1 - shares)).sum()
    return float(t.ppf(0.975, freedom) / norm.ppf(0.975))


def measured(
    measures: Mapping[str, Measure],
    strata: np.ndarray,
    seed: int = 0,
    groups: np.ndarray | None = None,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> dict[str, tuple[float, tuple[float, float]]]:
    """Each measure's value, and its 95 % interval over bootstrap samples of records, or of their groups.

    Shares that no sample changes, as where every record is right, get the interval that the binomial
    distribution gives the smallest class.
    """
    values: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw without any record of a class
        step = max(1, AT_ONCE // max(len(strata), 1))
        for block in draws(strata, seed, groups=groups):
            for start in range(0, len(block), step):
                for name, measure in measures.items():
                    values[name].append(measure(block[start : start + step]))
        once = np.ones((1, len(strata)), dtype=np.float32)
        plain = {name: float(measure(once)[0]) for name, measure in measures.items()}
    factor, unseen = widening(strata, groups), unseen_errors(strata, groups)
    results = {}
    for name, value in plain.items():
        drawn, lowest_and_highest = np.concatenate(values[name]), LIMITS.get(name, limits)
        low, high = interval_of(drawn, value, factor, lowest_and_highest)
        if high - low < NO_SPREAD and lowest_and_highest == SHARE:
            low, high = max(0.0, value - unseen), min(1.0, value + unseen)
        results[name] = (value, (low, high))
    return results


def unseen_errors(strata: np.ndarray, groups: np.ndarray | None) -> float:
    """How far a mean over classes may be off if none of a class's units differs from the others."""
    counts = [np.unique(_units(strata, side)[1], return_counts=True)[1] for side in _sides(groups)]
    return max((1 - 0.025 ** (1 / each.min())) / len(each) for each in counts)


def interval_over_repeats(
    values: np.ndarray,
    centre: float,
    factor: float = 1.0,
    limits: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of a mean over repetitions, such as draws of labels and seeds, each on all bootstrap samples.

    Repetitions are few. Their variance is added to that of the samples, and the sum gets the Student's t of
    as many degrees of freedom as it has (Satterthwaite, 1946).

    Args:
        values: (repetitions, ..., samples), an axis for each thing that is repeated.
        centre: the mean on the records as they are.
        factor: what `widening` gives for the records.
        limits: of the measure.
        level: of the interval.

    Example:
        >>> seeds = np.array([[0.1] * 1000, [0.2] * 1000, [0.3] * 1000])
        >>> low, high = interval_over_repeats(seeds, centre=0.2)
        >>> round(low, 1), round(high, 1)
        (-0.0, 0.4)
    """
    axes = tuple(range(values.ndim - 1))
    drawn = values.mean(axis=axes)
    if not np.isfinite(factor) or np.isnan(drawn).all():
        return interval_of(drawn, centre, factor, limits, level)
    drawn = centre + factor * (drawn - centre)
    each = np.nanmean(values, axis=-1)
    variances = {  # of the mean, by the number of repetitions
        axis: each.mean(axis=tuple(other for other in axes if other != axis)).var(ddof=1) / each.shape[axis]
        for axis in axes
        if each.shape[axis] > 1
    }
    of_repeats, wider = sum(variances.values()), 1.0
    if of_repeats > 0:
        freedom = (of_repeats + np.nanvar(drawn)) ** 2 / sum(
            variance**2 / (each.shape[axis] - 1) for axis, variance in variances.items()
        )
        quantile = (1 + level) / 2
        wider = float(t.ppf(quantile, freedom) / norm.ppf(quantile))
        drawn = drawn + of_repeats**0.5 * norm.ppf(_spread_evenly(len(drawn)))
    return interval_of(drawn, centre, wider, limits, level)


def _spread_evenly(count: int) -> np.ndarray:
    """Numbers between 0 and 1 at even distances, in an order that has nothing to do with their size."""
    return numpy_generator(0, "comparison repeats").permutation((np.arange(count) + 0.5) / count)


def interval_of(
    values: np.ndarray,
    centre: float = 0.0,
    factor: float = 1.0,
    limits: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.95,
) -> tuple[float, float]:
    """The middle of the draws, spread about the centre by a factor.

    Draws that are NaN are left out; `factor` is what `widening` gives.
    """
    if np.isnan(values).all() or np.isnan(centre):
        return float("nan"), float("nan")
    if not np.isfinite(factor):
        return limits
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    low, high = centre + factor * (low - centre), centre + factor * (high - centre)
    return float(max(low, limits[0])), float(min(high, limits[1]))


def _sides(groups: np.ndarray | None) -> list[np.ndarray | None]:
    """What is drawn: records, their groups, or the things on each side of pairs."""
    return [groups] if groups is None or groups.ndim == 1 else list(groups.T)


def _units(strata: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The unit of each record, and the stratum of each unit: one for all where groups have several strata."""
    if groups is None:
        return np.arange(len(strata)), np.asarray(strata)
    _, first, units = np.unique(groups, return_index=True, return_inverse=True)
    stratum = np.asarray(strata)[first]
    if not np.array_equal(stratum[units], strata):
        stratum = np.zeros(len(first), dtype=np.int64)
    return units, stratum
