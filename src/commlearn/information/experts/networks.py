"""The non-linear experts: small networks of all folds, trained together as one batch of matrices.

    log p(y | x) = w2 [ relu(x w1 + b1) ] + b2                        on the concatenated modalities
    log p(y | x) = w2 [ prod_m relu(x_m w1_m + b1_m) ] + b2           with a factor for each modality
    log p(y | x) = w2 [ prod_m tanh(x_m w1_m + b1_m) ] + b2           starting from given directions

The last two are meant for combinations: a parity or a comparison needs a product of two features, and an XOR
of half-spaces is a product of two step functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from commlearn.information.experts.folds import Expert, Folds
from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

Single = NDArray[np.float32]
Weights = list[
    Single
]  # w1 (networks, features, hidden), b1 of each factor, w2 (networks, hidden, classes), b2


_LARGE_GROUP = 0.2  # share of the training rows from which one group is too large for keeping groups whole
_MANY_ROWS = 2000  # training rows above which batches are twice as large


@dataclass(frozen=True)
class Recipe:
    """Settings of the networks and of their training."""

    hidden: int = 64
    epochs: int = 60
    visits: int = 80_000  # training rows that one network reads, at most: many records need fewer epochs
    patience: int = 10  # epochs without a better held-in loss
    batch: int = 128  # rows per step; twice as many above `_MANY_ROWS` training rows
    rate: float = 5e-3  # Adam's learning rate
    decay: float = 1e-2  # decoupled weight decay, times the rate
    drop: float = 0.2  # dropout rate of hidden units
    held_in: float = 0.12  # share of the training rows that is set aside for early stopping
    copies: int = 2  # networks per fold
    steps: bool = False  # tanh instead of relu


def fit_networks(
    blocks: tuple[Array, ...],
    labels: np.ndarray,
    folds: Folds,
    seed: int,
    product: bool = False,
    recipe: Recipe | None = None,
    directions: Callable[[list[Array], np.ndarray], tuple[Array, ...]] | None = None,
) -> Expert:
    """Train `copies` networks per fold on the other folds, each stopped by its own held-in rows or groups.

    With `product`, each modality has its own factor. `directions` finds directions from a network's training
    rows and labels; hidden units start as random mixtures of them.
    """
    recipe = recipe or Recipe()
    draw = numpy_generator(seed, "interactions networks", len(blocks))
    factors = _factors(blocks, product)
    train, held = _split(folds, recipe, draw)
    widths = [factor.shape[1] for factor in factors]
    weights = _start(len(train), widths, recipe, int(labels.max()) + 1, draw)
    if directions is not None:
        for network, rows in enumerate(train):
            chosen = directions([block[rows] for block in blocks], labels[rows])
            for w1, start in zip(weights[0:-2:2], chosen, strict=True):
                mix = draw.normal(size=(start.shape[1], recipe.hidden)) / start.shape[1] ** 0.5
                w1[network] = 1.5 * start @ mix
    best = _train(weights, factors, labels, train, held, recipe, draw)
    copies = [slice(fold * recipe.copies, (fold + 1) * recipe.copies) for fold in range(folds.count)]
    fitted = [partial(_mean_log, [part[span] for part in best], product, recipe.steps) for span in copies]
    return Expert(blocks, folds, fitted)


def _mean_log(weights: Weights, product: bool, steps: bool, parts: Sequence[Array]) -> Array:
    """Return the mean log probability over the networks of a fold."""
    hidden = _product(_hidden(weights, _factors(parts, product), steps))
    return log_softmax(hidden @ weights[-2] + weights[-1], axis=-1).mean(axis=0)


def _factors(blocks: Sequence[Array], product: bool) -> list[Single]:
    """Return the input of each factor of the hidden layer."""
    inputs = blocks if product else [np.concatenate(blocks, axis=1)]
    return [part.astype(np.float32) for part in inputs]


def _split(folds: Folds, recipe: Recipe, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and the rows for early stopping, (networks, rows) each.

    No group is on both sides, as it would be recognised and training would stop too late. But if one group
    has many of the rows, they are divided without regard to groups.
    """
    fit, held = [], []
    smallest = min(int((folds.of != fold).sum()) for fold in range(folds.count))
    held_count = max(1, int(recipe.held_in * smallest))
    for fold in np.repeat(np.arange(folds.count), recipe.copies):
        order = draw.permutation(np.flatnonzero(folds.of != fold))
        rest = order[held_count:smallest]
        if folds.groups is not None and np.bincount(folds.groups[order]).max() < _LARGE_GROUP * len(order):
            rank = draw.permutation(folds.groups.max() + 1)[folds.groups[order]]
            order = order[np.argsort(rank, kind="stable")]
            # Rows that are not in the last group held.
            undivided = folds.groups[order] != folds.groups[order[held_count - 1]]
            rest = draw.permutation(order[held_count:][undivided[held_count:]])
        held.append(order[:held_count])
        fit.append(rest)
    least = min(len(rows) for rows in fit)
    return np.stack([rows[:least] for rows in fit]), np.stack(held)


def _start(
    networks: int, widths: list[int], recipe: Recipe, classes: int, draw: np.random.Generator
) -> Weights:
    """Draw initial weights; factors of a product of ReLUs start around one, where it is nearly a sum."""
    weights, hidden = [], recipe.hidden
    mean, deviation = (0.0, 0.5) if recipe.steps else (float(len(widths) > 1), 0.1)
    for width in widths:
        weights.append((2 / width) ** 0.5 * draw.normal(size=(networks, width, hidden)))
        weights.append(mean + deviation * draw.normal(size=(networks, 1, hidden)))
    weights.append((1 / hidden) ** 0.5 * draw.normal(size=(networks, hidden, classes)))
    weights.append(np.zeros((networks, 1, classes)))
    return [part.astype(np.float32) for part in weights]


def _train(
    weights: Weights,
    factors: list[Single],
    labels: np.ndarray,
    train: np.ndarray,
    held: np.ndarray,
    recipe: Recipe,
    draw: np.random.Generator,
) -> Weights:
    """Train with Adam and decoupled weight decay; every network keeps the weights of its best epoch."""
    first = [np.zeros_like(part) for part in weights]
    second = [np.zeros_like(part) for part in weights]
    best, lowest = [part.copy() for part in weights], np.full(len(train), np.inf)
    stale_epochs = np.zeros(len(train), dtype=int)
    held_rows, held_labels = [factor[held] for factor in factors], labels[held]
    step = 0
    batch = min(recipe.batch * (2 if train.shape[1] > _MANY_ROWS else 1), train.shape[1])
    for _ in range(max(1, min(recipe.epochs, recipe.visits // train.shape[1]))):
        order = draw.permuted(train, axis=1)
        for start in range(0, train.shape[1] - batch + 1, batch):
            rows = order[:, start : start + batch]
            step += 1
            inputs = [factor[rows] for factor in factors]
            _adam(
                weights,
                _gradient(weights, inputs, labels[rows], recipe, draw),
                first,
                second,
                step,
                recipe,
            )
        loss = _loss(weights, held_rows, held_labels, recipe.steps)
        better = loss < lowest - 1e-4
        stale_epochs = np.where(better, 0, stale_epochs + 1)
        lowest = np.where(better, loss, lowest)
        for best_part, part in zip(best, weights, strict=True):
            best_part[better] = part[better]
        if (stale_epochs >= recipe.patience).all():
            break
    return best


def _adam(
    weights: Weights, slopes: Weights, first: Weights, second: Weights, step: int, recipe: Recipe
) -> None:
    rate = recipe.rate * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
    for index, slope in enumerate(slopes):
        first[index] *= 0.9
        first[index] += 0.1 * slope
        second[index] *= 0.999
        second[index] += 0.001 * slope * slope
        if index % 2 == 0:
            weights[index] *= 1 - recipe.rate * recipe.decay
        weights[index] -= rate * first[index] / (np.sqrt(second[index]) + 1e-8)


def _hidden(weights: Weights, rows: list[Single], steps: bool) -> list[Single]:
    """Return every factor of the hidden layer, (networks, rows, hidden)."""
    sums = [part @ w + b for part, w, b in zip(rows, weights[0:-2:2], weights[1:-2:2], strict=True)]
    return [np.tanh(part) if steps else np.maximum(part, 0) for part in sums]


def _product(factors: list[Single]) -> Single:
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


def _gradient(
    weights: Weights, rows: list[Single], labels: np.ndarray, recipe: Recipe, draw: np.random.Generator
) -> Weights:
    """Return the gradients of the mean cross-entropy.

    Rows are (networks, batch, features), labels (networks, batch).
    """
    w2, b2 = weights[-2:]
    factors = _hidden(weights, rows, recipe.steps)
    hidden, share = _product(factors), np.float32(1 - recipe.drop)
    mask = (draw.random(hidden.shape, dtype=np.float32) < share).astype(np.float32) / share
    hidden = hidden * mask
    error = np.exp(log_softmax(hidden @ w2 + b2, axis=-1))
    np.put_along_axis(error, labels[..., None], np.take_along_axis(error, labels[..., None], 2) - 1, 2)
    error /= labels.shape[1]
    hidden_error = (error @ w2.swapaxes(1, 2)) * mask
    slopes = []
    for index, (part, factor) in enumerate(zip(rows, factors, strict=True)):
        others = [other for number, other in enumerate(factors) if number != index]
        slope = 1 - factor * factor if recipe.steps else (factor > 0).astype(np.float32)
        delta = _product([hidden_error * slope, *others])
        slopes += [part.swapaxes(-1, -2) @ delta, delta.sum(axis=1, keepdims=True)]
    return [*slopes, hidden.swapaxes(1, 2) @ error, error.sum(axis=1, keepdims=True)]


def _loss(weights: Weights, rows: list[Single], labels: np.ndarray, steps: bool) -> Array:
    logits = log_softmax(_product(_hidden(weights, rows, steps)) @ weights[-2] + weights[-1], axis=-1)
    return -np.take_along_axis(logits, labels[..., None], 2).mean(axis=(1, 2)).astype(np.float64)
