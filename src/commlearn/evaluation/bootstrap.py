"""Bootstrap over test records: the same draws for every method that is scored on the same records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from commlearn.seeds import numpy_generator

__all__ = ["Measure", "draws", "interval_of", "measured"]

Measure = Callable[[np.ndarray], np.ndarray]
"""From weights (draws, records) to values (draws,)."""

DRAWS = 1000
AT_A_TIME = 4_000_000  # weights in memory


def draws(groups: np.ndarray, seed: int = 0, count: int = DRAWS) -> Iterator[np.ndarray]:
    """How often each record is drawn, in blocks of (draws, records).

    Args:
        groups: a code for each record; as many are drawn of each group as there are, so that a rare
            class is never missing.
        seed: of the draws.
        count: of bootstrap samples.
    """
    generator = numpy_generator(seed, "probe bootstrap")
    rows = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    block = max(1, AT_A_TIME // max(len(groups), 1))
    for start in range(0, count, block):
        size = min(block, count - start)
        weights = np.zeros((size, len(groups)), dtype=np.float32)
        for members in rows:
            chosen = generator.integers(len(members), size=(size, len(members)))
            flat = chosen + len(members) * np.arange(size)[:, None]
            counts = np.bincount(flat.ravel(), minlength=size * len(members))
            weights[:, members] = counts.reshape(size, -1)
        yield weights


def measured(
    measures: Mapping[str, Measure], groups: np.ndarray, seed: int = 0
) -> dict[str, tuple[float, tuple[float, float]]]:
    """Each measure's value, and its 95 % interval over bootstrap samples of the records."""
    spread: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    for weights in draws(groups, seed):
        for name, measure in measures.items():
            spread[name].append(measure(weights))
    plain = np.ones((1, len(groups)), dtype=np.float32)
    return {
        name: (float(measure(plain)[0]), interval_of(np.concatenate(spread[name])))
        for name, measure in measures.items()
    }


def interval_of(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.nanquantile(values, [0.025, 0.975]) if not np.isnan(values).all() else (np.nan, np.nan)
    return float(low), float(high)
