"""Uncertainty of the numbers: standard errors, a bootstrap near zero, and a planted synergy to find."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from scipy.special import log_softmax

from commlearn.information.curve import Growth
from commlearn.information.estimate import Measured, Quantity
from commlearn.information.evidence import Evidence
from commlearn.information.experts.folds import make_folds
from commlearn.information.experts.networks import Recipe, fit_networks
from commlearn.information.experts.posteriors import ignore_convergence_warnings, workers
from commlearn.information.experts.reduced import fit_reduced, logistic, pair_directions, pair_starts
from commlearn.information.experts.stacking import fit_stack
from commlearn.information.experts.standard_errors import correction, half_width, standard_error
from commlearn.information.pid.marginals import Array
from commlearn.information.settings import Settings
from commlearn.seeds import numpy_generator

REACH = 1.5  # factor on the last doubling's growth that may still be missing: 1 if errors fall as 1 / records
GROWS, GROWS_SHARE = 0.03, 0.05  # growth above which a number still grows: bits, and share of it
WHOLE = 0.005  # bits below certainty that still count as certainty
LEARNABLE = 0.6  # share of a planted synergy below which synergies may be missed
_DIRECTIONS = 8  # most directions of a modality to learn; the bits that they cost are the resolution
WIDER = 1.2  # factor on standard errors, as experts of several folds have learned from each other's records

Name = TypeVar("Name", bound=Hashable)


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


def bootstrap(
    again: Callable[[Array], Measured],
    read: Callable[[Measured], Mapping[Name, float]],
    weights: Array,
) -> dict[Name, Array]:
    """Return every number in every resampling; the experts are not refitted."""
    with workers() as pool:
        rows = list(pool.map(lambda weight: read(again(weight)), weights))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def resampled_weights(records: int, count: int, seed: int, groups: np.ndarray | None = None) -> Array:
    """Return how often each record is drawn, (count, records), with whole groups drawn together."""
    draw = numpy_generator(seed, "interactions bootstrap")
    units = records if groups is None else int(groups.max()) + 1
    drawn = draw.multinomial(units, np.full(units, 1 / units), size=count).astype(np.float64)
    return drawn if groups is None else drawn[:, groups]


_RANK = 2  # number of pairs of directions that experts look for


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
    start = partial(pair_starts, rank=_RANK)
    choice = partial(pair_directions, rank=_RANK)
    with ignore_convergence_warnings():
        experts = [
            fit_networks(blocks, labels, folds, seed, True, recipe, start),
            fit_reduced(blocks, labels, folds, choice, logistic),
        ]
    rows = folds.identity_rows(2)
    logs = [log_softmax(expert.logits(rows), axis=1) for expert in experts]
    log = fit_stack(logs, labels, folds).combine(logs, rows)
    entropy = -float(np.log(np.bincount(labels) / len(labels)) @ (np.bincount(labels) / len(labels)))
    return float(np.clip(1 + log[np.arange(len(labels)), labels].mean() / entropy, 0.0, 1.0))


def _half_space(block: Array, draw: np.random.Generator) -> np.ndarray:
    """Return each record's side of a random plane through the median; all directions have equal weight."""
    scale = block.std(axis=0)
    side = block @ (draw.normal(size=block.shape[1]) / np.maximum(scale, 1e-9))
    return (side > np.median(side)).astype(np.intp)
