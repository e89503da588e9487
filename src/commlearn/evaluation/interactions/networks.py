"""The non-linear expert: small networks of all folds, trained side by side as one batch of matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commlearn.evaluation.interactions.folds import Folds, Rows, side_by_side
from commlearn.evaluation.marginals import Array
from commlearn.seeds import numpy_generator

__all__ = ["Networks", "Recipe", "fit_networks"]

Single = NDArray[np.float32]
Weights = list[Single]  # w1 (networks, features, hidden), b1, w2 (networks, hidden, classes), b2


@dataclass(frozen=True)
class Recipe:
    """How the networks are trained."""

    hidden: int = 64
    epochs: int = 60
    patience: int = 10  # epochs without a better held-in loss
    batch: int = 128
    rate: float = 5e-3  # Adam's
    decay: float = 1e-2  # decoupled weight decay, times the rate
    drop: float = 0.2  # of hidden units
    held_in: float = 0.12  # of the training rows, for stopping
    copies: int = 2  # networks a fold


@dataclass(frozen=True)
class Networks:
    """Trained networks, which read any pairing of modalities."""

    blocks: tuple[Array, ...]
    folds: Folds
    weights: Weights
    copies: int

    def logits(self, rows: Rows) -> Array:
        """Mean log probability of a fold's copies."""
        features = side_by_side(self.blocks, rows).astype(np.float32)
        found = np.empty((len(features), self.weights[3].shape[-1]))
        for fold, members in self.folds.members(rows):
            mine = slice(fold * self.copies, (fold + 1) * self.copies)
            hidden = np.maximum(features[members] @ self.weights[0][mine] + self.weights[1][mine], 0)
            found[members] = _log_softmax(hidden @ self.weights[2][mine] + self.weights[3][mine]).mean(axis=0)
        return found


def fit_networks(
    blocks: tuple[Array, ...], labels: np.ndarray, folds: Folds, seed: int, recipe: Recipe | None = None
) -> Networks:
    """Train `copies` networks a fold on the other folds, each stopped by training rows of its own.

    Args:
        blocks: features of each modality.
        labels: 0, ..., classes - 1.
        folds: who is held out when.
        seed: of weights, order and dropout.
        recipe: how.
    """
    recipe = recipe or Recipe()
    draw = numpy_generator(seed, "interactions networks", len(blocks))
    features = np.concatenate(blocks, axis=1).astype(np.float32)
    train, held = _split(folds, recipe, draw)
    weights = _start(len(train), features.shape[1], recipe.hidden, int(labels.max()) + 1, draw)
    best = _train(weights, features, labels, train, held, recipe, draw)
    return Networks(blocks, folds, best, recipe.copies)


def _split(folds: Folds, recipe: Recipe, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows to stop by, (networks, rows) each."""
    fit, held = [], []
    smallest = min(int((folds.of != fold).sum()) for fold in range(folds.count))
    for_stop = max(1, int(recipe.held_in * smallest))
    for fold in np.repeat(np.arange(folds.count), recipe.copies):
        order = draw.permutation(np.flatnonzero(folds.of != fold))
        held.append(order[:for_stop])
        fit.append(order[for_stop:smallest])
    return np.stack(fit), np.stack(held)


def _start(networks: int, features: int, hidden: int, classes: int, draw: np.random.Generator) -> Weights:
    shapes = [
        (networks, features, hidden),
        (networks, 1, hidden),
        (networks, hidden, classes),
        (networks, 1, classes),
    ]
    scales = [(2 / features) ** 0.5, 0.1, (1 / hidden) ** 0.5, 0.0]
    return [
        (scale * draw.normal(size=shape)).astype(np.float32)
        for shape, scale in zip(shapes, scales, strict=True)
    ]


def _train(
    weights: Weights,
    features: Single,
    labels: np.ndarray,
    train: np.ndarray,
    held: np.ndarray,
    recipe: Recipe,
    draw: np.random.Generator,
) -> Weights:
    """Adam with decoupled decay; every network keeps its weights of the best epoch."""
    first = [np.zeros_like(part) for part in weights]
    second = [np.zeros_like(part) for part in weights]
    best, lowest = [part.copy() for part in weights], np.full(len(train), np.inf)
    since = np.zeros(len(train), dtype=int)
    held_rows, held_labels = features[held], labels[held]
    step = 0
    batch = min(recipe.batch, train.shape[1])
    for _ in range(recipe.epochs):
        order = draw.permuted(train, axis=1)
        for start in range(0, train.shape[1] - batch + 1, batch):
            rows = order[:, start : start + batch]
            step += 1
            slopes = _gradient(weights, features[rows], labels[rows], recipe.drop, draw)
            _adam(weights, slopes, first, second, step, recipe)
        loss = _loss(weights, held_rows, held_labels)
        better = loss < lowest - 1e-4
        since = np.where(better, 0, since + 1)
        lowest = np.where(better, loss, lowest)
        for kept, part in zip(best, weights, strict=True):
            kept[better] = part[better]
        if (since >= recipe.patience).all():
            break
    return best


def _adam(
    weights: Weights, slopes: Weights, first: Weights, second: Weights, step: int, recipe: Recipe
) -> None:
    rate = recipe.rate * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
    for place, slope in enumerate(slopes):
        first[place] *= 0.9
        first[place] += 0.1 * slope
        second[place] *= 0.999
        second[place] += 0.001 * slope * slope
        if place % 2 == 0:
            weights[place] *= 1 - recipe.rate * recipe.decay
        weights[place] -= rate * first[place] / (np.sqrt(second[place]) + 1e-8)


def _gradient(
    weights: Weights, rows: Single, labels: np.ndarray, drop: float, draw: np.random.Generator
) -> Weights:
    """Gradients of the mean cross-entropy; rows (networks, batch, features), labels (networks, batch)."""
    w1, b1, w2, b2 = weights
    hidden = np.maximum(rows @ w1 + b1, 0)
    mask = (draw.random(hidden.shape, dtype=np.float32) >= drop).astype(np.float32) / np.float32(1 - drop)
    hidden *= mask
    error = np.exp(_log_softmax(hidden @ w2 + b2))
    np.put_along_axis(error, labels[..., None], np.take_along_axis(error, labels[..., None], 2) - 1, 2)
    error /= rows.shape[1]
    back = (error @ w2.swapaxes(1, 2)) * (hidden > 0) * mask
    return [
        rows.swapaxes(1, 2) @ back,
        back.sum(axis=1, keepdims=True),
        hidden.swapaxes(1, 2) @ error,
        error.sum(axis=1, keepdims=True),
    ]


def _loss(weights: Weights, rows: Single, labels: np.ndarray) -> Array:
    hidden = np.maximum(rows @ weights[0] + weights[1], 0)
    logits = _log_softmax(hidden @ weights[2] + weights[3])
    return -np.take_along_axis(logits, labels[..., None], 2).mean(axis=(1, 2)).astype(np.float64)


def _log_softmax(logits: Single) -> Single:
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
