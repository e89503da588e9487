"""Measures of predictions, each computed for many weightings of the same test records at once.

A bootstrap sample is a weighting: how often each record was drawn. A measure takes weights of shape
(draws, records) and returns (draws,); a single row of ones gives the plain value. The samples are the same
for every method that is scored on the same records.

If records belong to groups, groups are drawn, each with all of its records. From n units of a stratum, n - 1
are drawn and weigh n / (n - 1) each, so that few units vary as much as they should (Rao and Wu, 1988). Draws
are spread about their centre as Student's t requires for that number of units.

Records may also be pairs of things, such as images, each of which occurs in many records. Then the things of
each side are drawn, and a record's weight is their product (the crossed bootstrap of Owen, 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy.stats import norm, t

from commlearn.seeds import numpy_generator


def equal_weights(records: int) -> np.ndarray:
    """Return weights that count every record once, (1, records)."""
    return np.ones((1, records), dtype=np.float32)


def accuracy(right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of the records that are predicted correctly."""
    return (weights @ right.astype(np.float32)) / weights.sum(axis=1)


def mean_recall(right: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Balanced accuracy: the mean over the classes of the share of their records predicted correctly."""
    recalls = [accuracy(right[labels == label], weights[:, labels == label]) for label in np.unique(labels)]
    return np.mean(recalls, axis=0)


def auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: how often a positive record scores above a negative one, ties half."""
    hits, misses = _by_score(scores, positive, weights)  # (draws, distinct scores), the highest first
    above = np.cumsum(hits, axis=1) - hits / 2
    ordered_pairs = np.einsum("ij,ij->i", above, misses, dtype=np.float64)
    return ordered_pairs / (_total(hits) * _total(misses))


def auprc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision: the precision at each distinct score, weighted by the recall it adds."""
    hits, misses = _by_score(scores, positive, weights)
    above = np.cumsum(hits, axis=1)
    has_hits = hits.any(axis=0)  # other scores add no recall
    precision = above[:, has_hits] / np.maximum(np.cumsum(hits + misses, axis=1)[:, has_hits], 1e-12)
    return np.einsum("ij,ij->i", hits[:, has_hits], precision, dtype=np.float64) / _total(hits)


def mean_over_labels(
    measure: Callable[..., np.ndarray], scores: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the mean of `auroc` or `auprc` over labels, without labels that all or no test records have."""
    by_label = [
        measure(scores[:, label], positive[:, label], weights)
        for label in range(positive.shape[1])
        if 0 < positive[:, label].sum() < len(positive)
    ]
    values = np.array(by_label).reshape(-1, len(weights))
    with np.errstate(invalid="ignore"):  # a draw may have no usable label
        return np.nansum(values, axis=0) / (~np.isnan(values)).sum(axis=0)


def f1(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray, weighted: bool) -> np.ndarray:
    """Return F1 averaged over labels, equally or weighted by the number of records with the label."""
    hits = weights @ (predicted & truth).astype(np.float32)  # (draws, labels)
    predicted_count = weights @ predicted.astype(np.float32)
    true_count = weights @ truth.astype(np.float32)
    scores = 2 * hits / np.maximum(predicted_count + true_count, 1e-12)
    if not weighted:
        return scores.mean(axis=1)
    return (scores * true_count).sum(axis=1) / np.maximum(true_count.sum(axis=1), 1e-12)


def squared_error(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean squared error of each output, (draws, outputs)."""
    return (weights @ (predicted - truth) ** 2) / weights.sum(axis=1, keepdims=True)


def r2(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the explained share of each output's variance, (draws, outputs); NaN if nothing varies."""
    count = weights.sum(axis=1, keepdims=True)
    centred = truth - truth.mean(axis=0)
    variance = weights @ centred**2 / count - (weights @ centred / count) ** 2
    variance = np.where(variance > 1e-6 * (centred**2).mean(axis=0), variance, np.nan)  # nothing to explain
    return 1 - squared_error(predicted, truth, weights) / variance


def mean_r2(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of R2 over outputs, (draws,), without outputs that are the same in all records."""
    varies = (truth != truth[:1]).any(axis=0)
    if varies.any() and not varies.all():
        predicted, truth = predicted[:, varies], truth[:, varies]
    return r2(predicted, truth, weights).mean(axis=1)


def main_score(sort: str, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the figure that summarises a target of this sort, (draws,): see `MEASURES`."""
    if sort == "class":
        return mean_recall(truth == predicted, truth, weights)
    if sort == "number":
        return mean_r2(predicted, truth, weights)
    return f1(predicted.astype(bool), truth.astype(bool), weights, weighted=True)


def strata_of(sort: str, truth: np.ndarray) -> np.ndarray:
    """Return the strata whose shares every draw of records preserves: the classes, if there are any."""
    return truth if sort == "class" else np.zeros(len(truth), dtype=np.int64)


def _by_score(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of positive and of negative records at each distinct score, highest first.

    They are float32, which is exact for counts of up to 16 million records, and for their halves up to 8.
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
"""Maps weights (draws, records) to values (draws,)."""

DRAWS = 1000
AT_A_TIME = 4_000_000  # weights in memory at once
AT_ONCE = 500_000  # weights that are measured together, as many as fit a processor's cache
NO_SPREAD = 1e-6  # an interval narrower than this comes from draws that are all the same
ALONE = 0.2  # largest share of classes with a single group that an interval may ignore
SHARE = (0.0, 1.0)
SHARES = ("balanced_accuracy", "accuracy", "auroc", "auprc", "weighted_f1", "macro_f1")
LIMITS = {"r2": (-np.inf, 1.0), "mse": (0.0, np.inf), **dict.fromkeys(SHARES, SHARE)}
"""The lowest and highest value of each measure."""


def draws(
    strata: np.ndarray, seed: int = 0, count: int = DRAWS, groups: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield the weight of each record in each draw, in blocks of (draws, records).

    All strata keep their weight, so that a rare class is never missing. If any group has records of several
    strata, all groups form one stratum.

    Args:
        strata: stratum of each record.
        seed: seed of the draws.
        count: number of draws.
        groups: group of each record; (records, sides) if records are pairs that are drawn by all sides.
    """
    generator = numpy_generator(seed, "probe bootstrap")
    sides = [_units(strata, side) for side in _sides(groups)]
    block = max(1, AT_A_TIME // max(len(strata), 1))
    for start in range(0, count, block):
        size = min(block, count - start)
        drawn = [(_draw_weights(stratum, size, generator), units) for units, stratum in sides]
        yield drawn[0][0] if groups is None else np.prod([each[:, units] for each, units in drawn], axis=0)


def _draw_weights(stratum: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Draw the weight of each unit in each of `size` draws, (draws, units)."""
    weights = np.zeros((size, len(stratum)), dtype=np.float32)
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        draw_count = max(len(members) - 1, 1)
        drawn = generator.integers(len(members), size=(size, draw_count))
        flat = drawn + len(members) * np.arange(size)[:, None]
        counts = np.bincount(flat.ravel(), minlength=size * len(members))
        weights[:, members] = counts.reshape(size, -1) * (len(members) / draw_count)
    return weights


def widening(strata: np.ndarray, groups: np.ndarray | None = None, level: float = 0.95) -> float:
    """Return the factor by which Student's t interval is wider than a normal one, for this number of units.

    The higher the level, the larger the factor: the tails of t are heavier.

    The strata's variances are assumed equal, so that strata with few units count most (Welch and
    Satterthwaite). The factor is infinite if there is no estimate: if every stratum has a single unit, or if
    more than a fifth of the classes have a single group, whose difference from others is unknown.

    Example:
        >>> round(widening(np.zeros(10)), 3), round(widening(np.arange(4)), 3)
        (1.154, inf)
    """
    return max(_widening(_units(strata, side)[1], groups is not None, level) for side in _sides(groups))


def _widening(stratum: np.ndarray, grouped: bool, level: float) -> float:
    counts = np.unique(stratum, return_counts=True)[1]
    single = counts == 1
    if single.all() or (grouped and single.mean() > ALONE):
        return float("inf")
    shares = 1 / counts[~single]  # contributions to the variance of a mean over strata
    freedom = shares.sum() ** 2 / (shares**3 / (1 - shares)).sum()
    quantile = (1 + level) / 2
    return float(t.ppf(quantile, freedom) / norm.ppf(quantile))


def measured(
    measures: Mapping[str, Measure],
    strata: np.ndarray,
    seed: int = 0,
    groups: np.ndarray | None = None,
    limits: tuple[float, float] = (-np.inf, np.inf),
    labels: np.ndarray | None = None,
) -> dict[str, tuple[float, tuple[float, float]]]:
    """Return each measure's value and 95 % interval over bootstrap samples of records, or of their groups.

    Shares that are equal in all samples, such as when every record is predicted correctly, get the binomial
    interval of the smallest class, or of the rarest of several `labels`, (records, labels).
    """
    values: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    with np.errstate(invalid="ignore", divide="ignore"):  # draws that lack a class
        step = max(1, AT_ONCE // max(len(strata), 1))
        for block in draws(strata, seed, groups=groups):
            for start in range(0, len(block), step):
                for name, measure in measures.items():
                    values[name].append(measure(block[start : start + step]))
        plain = {name: float(measure(equal_weights(len(strata)))[0]) for name, measure in measures.items()}
    factor, margin = widening(strata, groups), unseen_errors(strata, groups, labels)
    results = {}
    for name, value in plain.items():
        drawn, lowest_and_highest = np.concatenate(values[name]), LIMITS.get(name, limits)
        low, high = interval_of(drawn, value, factor, lowest_and_highest)
        if high - low < NO_SPREAD and lowest_and_highest == SHARE:
            low, high = max(0.0, value - margin), min(1.0, value + margin)
        results[name] = (value, (low, high))
    return results


def unseen_errors(strata: np.ndarray, groups: np.ndarray | None, labels: np.ndarray | None = None) -> float:
    """Return how far a mean over classes, or labels, may be off although the units of each all agree."""
    sizes = []
    for units, stratum in (_units(strata, side) for side in _sides(groups)):
        sizes.append(np.unique(stratum, return_counts=True)[1])
        if labels is not None and labels.any():
            sizes.append(np.array([len(np.unique(units[has])) for has in labels.T if has.any()]))
    return float(max((1 - 0.025 ** (1 / counts.min())) / len(counts) for counts in sizes))


def interval_over_repeats(
    values: np.ndarray,
    centre: float,
    factor: float = 1.0,
    limits: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the interval of a mean over few repetitions, such as draws of labels and seeds.

    Each repetition has values on all bootstrap samples. The variance over repetitions is added to that over
    samples, and the interval uses Student's t with the degrees of freedom of the sum (Satterthwaite, 1946).

    Args:
        values: (repetitions, ..., samples), an axis for each thing that is repeated.
        centre: the mean on the original records.
        factor: result of `widening` for the records.
        limits: lowest and highest value of the measure.
        level: confidence level of the interval.

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
    means = np.nanmean(values, axis=-1)
    variances = {  # variance of the mean, by axis of repetitions
        axis: means.mean(axis=tuple(other for other in axes if other != axis)).var(ddof=1) / means.shape[axis]
        for axis in axes
        if means.shape[axis] > 1
    }
    repeat_variance, t_factor = sum(variances.values()), 1.0
    if repeat_variance > 0:
        freedom = (repeat_variance + np.nanvar(drawn)) ** 2 / sum(
            variance**2 / (means.shape[axis] - 1) for axis, variance in variances.items()
        )
        quantile = (1 + level) / 2
        t_factor = float(t.ppf(quantile, freedom) / norm.ppf(quantile))
        evenly = numpy_generator(0, "comparison repeats").permutation(
            (np.arange(len(drawn)) + 0.5) / len(drawn)
        )
        drawn = drawn + repeat_variance**0.5 * norm.ppf(evenly)
    return interval_of(drawn, centre, t_factor, limits, level)


def interval_of(
    values: np.ndarray, centre: float, factor: float, limits: tuple[float, float], level: float = 0.95
) -> tuple[float, float]:
    """Return the central interval of the draws, widened about the centre by a factor.

    Draws that are NaN are left out; `factor` is a result of `widening`.
    """
    if np.isnan(values).all() or np.isnan(centre):
        return float("nan"), float("nan")
    if not np.isfinite(factor):
        return limits
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    low, high = centre + factor * (low - centre), centre + factor * (high - centre)
    return float(max(low, limits[0])), float(min(high, limits[1]))


def _sides(groups: np.ndarray | None) -> list[np.ndarray | None]:
    """Return the groupings that are drawn by: None for single records, the groups, or each side of pairs."""
    return [groups] if groups is None or groups.ndim == 1 else list(groups.T)


def _units(strata: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return each record's unit and each unit's stratum, one for all if any group has several strata."""
    if groups is None:
        return np.arange(len(strata)), np.asarray(strata)
    _, first, units = np.unique(groups, return_index=True, return_inverse=True)
    stratum = np.asarray(strata)[first]
    if not np.array_equal(stratum[units], strata):
        stratum = np.zeros(len(first), dtype=np.int64)
    return units, stratum
