"""Could the experts have seen a combination, had there been one? A planted one tells.

Labels are made that nothing but the combination of two modalities says: the XOR of a random half-space of
each, one bit of synergy and nothing else. From the records at hand the experts find a share of it. Where that
is little, a combination of the same sort in the true labels would be missed too, however flat the learning
curve is: it is flat at zero as well.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from commlearn.information.experts.folds import make_folds
from commlearn.information.experts.networks import Recipe, fit_networks
from commlearn.information.experts.posteriors import Expert
from commlearn.information.experts.reduced import fit_reduced, logistic, pair_directions, pair_starts
from commlearn.information.experts.stacking import fit_stack, log_softmax
from commlearn.information.experts.workers import unsaid_convergence
from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

__all__ = ["learnable_share"]

_RANK = 2  # pairs of directions that experts look for


def learnable_share(blocks: tuple[Array, Array], count: int, seed: int) -> float:
    """The share of a planted bit of synergy that is found, from 0 to 1.

    Args:
        blocks: components of two modalities.
        count: of folds.
        seed: of the planted labels, folds and experts.
    """
    draw = numpy_generator(seed, "interactions planted")
    labels = _half_space(blocks[0], draw) ^ _half_space(blocks[1], draw)
    if np.bincount(labels, minlength=2).min() < 2 * count:
        return 0.0
    folds = make_folds(labels, None, count, seed)
    recipe = Recipe(hidden=32, steps=True, copies=2)
    start = partial(pair_starts, rank=_RANK)
    choice = partial(pair_directions, rank=_RANK)
    with unsaid_convergence():
        experts: list[Expert] = [
            fit_networks(blocks, labels, folds, seed, True, recipe, start),
            fit_reduced(blocks, labels, folds, choice, logistic),
        ]
    own = folds.own_rows(2)
    logs = [log_softmax(expert.logits(own)) for expert in experts]
    log = fit_stack(logs, labels, folds).combine(logs, own)
    entropy = -float(np.log(np.bincount(labels) / len(labels)) @ (np.bincount(labels) / len(labels)))
    return float(np.clip(1 + log[np.arange(len(labels)), labels].mean() / entropy, 0.0, 1.0))


def _half_space(block: Array, draw: np.random.Generator) -> np.ndarray:
    """On which side of a random plane through the median, all directions counting alike."""
    scale = block.std(axis=0)
    side = block @ (draw.normal(size=block.shape[1]) / np.maximum(scale, 1e-9))
    return (side > np.median(side)).astype(np.intp)
