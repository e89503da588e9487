"""How far off a number may be: standard errors, near zero a bootstrap, and a planted synergy to be found."""

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

REACH = 1.5  # times the last doubling's growth that may still be missing: 1 if errors fall as 1 / records
GROWS, GROWS_SHARE = 0.03, 0.05  # bits, and share of the number, from which growth counts
WHOLE = 0.005  # bits below certainty that nothing can be told from
LEARNABLE = 0.6  # of a planted synergy
_DIRECTIONS = 8  # of a modality, at most: learning them costs bits that are as good as none
WIDER = 1.2  # times the errors of records, as experts of several folds have learned from each other

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Estimate:
    """A number of bits and how sure it is."""

    bits: float  # the estimate
    low: float  # lower end of the interval
    high: float  # upper end; as far as certainty where the number is still growing
    error: float  # standard error
    p: float | None = None  # of "it is zero", where tested
    growing: bool = False  # experts have not learned all of it: the number is a lower bound

    def __str__(self) -> str:
        if self.growing:
            return f"at least {self.low:.2f} bits ({self.bits:.2f} found)"
        return f"{self.bits:.2f} bits [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Limits:
    """The range of all numbers of a report, and what it cannot distinguish from nothing."""

    most: float  # H(Y)
    # Bits below which a probe of so many directions learns nothing from so many records.
    resolution: float = 0.0
    learnable: float = 1.0  # the share of a planted synergy that was found


def with_interval(
    quantity: Quantity,
    level: float,
    limits: Limits,
    draws: Array | None = None,
    groups: np.ndarray | None = None,
    growth: Growth | None = None,
    combined: bool = False,
) -> Estimate:
    """A quantity with its interval.

    The upper end reaches as far as the number would grow if its error fell as a power of the records between
    1 / 2 and 1, with the uncertainty of that. Where the growth is plain, or experts would not have seen a
    synergy, the upper end is open. `combined` says that it is of a combination, which may be hard to learn.
    """
    growth = growth or Growth(0.0, 0.0)
    error = max(standard_error(shares, groups) for shares in (quantity.shares, quantity.uncut))
    if draws is not None and len(draws) > 1:
        error = max(error, correction(groups) ** 0.5 * float(np.std(draws, ddof=1)))
    wide, wide_growth = (WIDER * half_width(one, level, groups) for one in (error, growth.error))
    above = REACH * max(growth.bits, 0.0) + float(np.hypot(wide, REACH * wide_growth))
    below = REACH * min(growth.bits, 0.0) - wide
    grows = growth.bits > max(GROWS, GROWS_SHARE * quantity.bits)
    whole = quantity.bits > limits.most - WHOLE  # nothing is left to grow into
    growing = not whole and (grows or (combined and limits.learnable < LEARNABLE))
    high = quantity.bits + max(above, limits.resolution)
    return Estimate(
        quantity.bits,
        low=min(max(quantity.bits + below, 0.0), limits.most),
        high=limits.most if growing else min(high, limits.most),
        error=error,
        growing=growing,
    )


def find_limits(evidence: Evidence, settings: Settings, planted: bool = True) -> Limits:
    """What certainty takes, and what these records let experts see.

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
    """Every number in every resampling; the experts stay as they are."""
    with workers() as pool:
        rows = list(pool.map(lambda weight: read(again(weight)), weights))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def resampled_weights(records: int, count: int, seed: int, groups: np.ndarray | None = None) -> Array:
    """How often each record is drawn, whole groups together."""
    draw = numpy_generator(seed, "interactions bootstrap")
    units = records if groups is None else int(groups.max()) + 1
    drawn = draw.multinomial(units, np.full(units, 1 / units), size=count).astype(np.float64)
    return drawn if groups is None else drawn[:, groups]


_RANK = 2  # pairs of directions that experts look for


def learnable_share(blocks: tuple[Array, Array], groups: np.ndarray | None, settings: Settings) -> float:
    """The share of a planted bit of synergy that is found, from 0 to 1.

    Labels are made that nothing but the combination of two modalities says: the XOR of a random half-space of
    each. Where experts find little of it, a combination of the same sort in the true labels would be missed
    too, however flat the learning curve is: it is flat at zero as well.
    """
    count, seed = settings.folds, settings.seed
    draw = numpy_generator(seed, "interactions planted")
    labels = _half_space(blocks[0], draw) ^ _half_space(blocks[1], draw)
    if np.bincount(labels, minlength=2).min() < 2 * count:
        return 0.0
    folds = make_folds(labels, groups, count, seed)
    if len(folds.unlearned(labels)):
        return 0.0
    recipe = Recipe(hidden=32, steps=True, copies=2)
    start = partial(pair_starts, rank=_RANK)
    choice = partial(pair_directions, rank=_RANK)
    with ignore_convergence_warnings():
        experts = [
            fit_networks(blocks, labels, folds, seed, True, recipe, start),
            fit_reduced(blocks, labels, folds, choice, logistic),
        ]
    own = folds.own_rows(2)
    logs = [log_softmax(expert.logits(own), axis=1) for expert in experts]
    log = fit_stack(logs, labels, folds).combine(logs, own)
    entropy = -float(np.log(np.bincount(labels) / len(labels)) @ (np.bincount(labels) / len(labels)))
    return float(np.clip(1 + log[np.arange(len(labels)), labels].mean() / entropy, 0.0, 1.0))


def _half_space(block: Array, draw: np.random.Generator) -> np.ndarray:
    """On which side of a random plane through the median, all directions counting alike."""
    scale = block.std(axis=0)
    side = block @ (draw.normal(size=block.shape[1]) / np.maximum(scale, 1e-9))
    return (side > np.median(side)).astype(np.intp)
