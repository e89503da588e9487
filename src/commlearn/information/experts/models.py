"""The experts: models on a few directions of each modality, and small networks.

Principal components ignore the labels: if only three of hundreds of columns matter, they lose the signal, and
if the product of two modalities matters, they rank directions by spread alone. Here every fold chooses from
its own training rows

    columns      by their F statistic, then by a linear SVM with the universal L1 penalty
    pairs        singular vectors of the cross-moments  E[(1{y = c} - p_c) x_1 x_2^T]: the trace that XOR,
                 products and "do these belong together" leave, whatever each modality says alone

and fits a model on the chosen directions and on the products of pairs. Networks of all folds are trained
together as one batch of matrices:

    log p(y | x) = w2 [ relu(x w1 + b1) ] + b2                        on the concatenated modalities
    log p(y | x) = w2 [ prod_m relu(x_m w1_m + b1_m) ] + b2           with a factor for each modality
    log p(y | x) = w2 [ prod_m tanh(x_m w1_m + b1_m) ] + b2           starting from given directions

The last two are meant for combinations: a parity or a comparison needs a product of two features, and an XOR
of half-spaces is a product of two step functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from commlearn.information.experts.folds import Expert, Folds
from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

Choice: TypeAlias = Callable[[Sequence[Array], np.ndarray], "Directions"]  # from training rows and labels

_SCREENED, _CHOSEN = 100, 16  # columns that the L1 penalty chooses from, and the most that it chooses
_SELECTION_ROWS, _PER_CLASS = 2000, 20  # records that suffice for choosing, and the least from each class
_TREES = 80  # trees of one boosting model, over all classes
_VISITS = 1_000_000  # largest product of trees and records, unless that leaves fewer than 8 rounds
_SOLVER = Lock()  # liblinear has one random generator for the whole process


@dataclass(frozen=True)
class Directions:
    """Directions of each modality that a model reads, the first `products` of them also as products."""

    weights: tuple[Array, ...]  # one per modality, (columns, directions)
    # Number of leading directions of the first two modalities whose products and squares are read too.
    products: int = 0

    def read(self, parts: Sequence[Array]) -> Array:
        """Return the features of records, given the columns of each modality."""
        features = [part @ weight for part, weight in zip(parts, self.weights, strict=True)]
        if self.products:
            first, second = (part[:, : self.products] for part in features[:2])
            features += [first**2, second**2, (first[:, :, None] * second[:, None]).reshape(len(first), -1)]
        return np.concatenate(features, axis=1)


def fit_reduced(
    columns: tuple[Array, ...],
    labels: np.ndarray,
    folds: Folds,
    choice: Choice,
    model: Callable[[int, int], Any],
) -> Expert:
    """Choose directions and fit a model on all folds but one, for each fold left out."""
    fitted = []
    for train in map(np.flatnonzero, folds.training()):
        parts = [part[train] for part in columns]
        directions = choice(parts, labels[train])
        classifier = model(len(train), int(labels.max()) + 1).fit(directions.read(parts), labels[train])
        fitted.append(partial(_log_probabilities, directions, classifier))
    return Expert(columns, folds, fitted)


def _log_probabilities(directions: Directions, model: Any, parts: Sequence[Array]) -> Array:
    return np.log(np.maximum(model.predict_proba(directions.read(parts)), 1e-6))


def logistic(records: int, classes: int) -> Any:
    return LogisticRegression(C=1.0, max_iter=200, tol=1e-3)


def boosting(records: int, classes: int) -> Any:
    trees = min(_TREES, _VISITS // records) // (1 if classes == 2 else classes)
    return HistGradientBoostingClassifier(
        learning_rate=0.15 if classes == 2 else 0.25,
        max_iter=int(np.clip(trees, 8, 40)),
        max_leaf_nodes=8,
        min_samples_leaf=10,
        early_stopping=False,
        random_state=0,
    )


def screened_columns(parts: Sequence[Array], labels: np.ndarray) -> Directions:
    """Return the columns of each modality that are most informative about the target."""
    return Directions(tuple(_screened(part, labels) for part in parts))


def _screened(part: Array, labels: np.ndarray) -> Array:
    count = part.shape[1]
    if count <= _CHOSEN:
        return np.eye(count)
    rows = _rows_to_choose_by(labels)
    part, labels = part[rows], labels[rows]
    varying = np.flatnonzero(np.ptp(part, axis=0) > 0)  # columns that vary in this fold
    if len(varying) <= _CHOSEN:
        return np.eye(count)[:, varying if len(varying) else [0]]
    strength = np.nan_to_num(f_classif(part[:, varying], labels)[0])
    order = varying[np.argsort(-strength, kind="stable")[:_SCREENED]]
    penalty = 2 * np.sqrt(2 * len(part) * np.log(count))  # the largest slope that chance alone gives
    present = np.unique(labels)
    svc = LinearSVC(penalty="l1", dual=False, C=1 / penalty, max_iter=200, tol=1e-2, random_state=0)
    with _SOLVER:
        fits = [
            svc.fit(part[:, order], labels == label).coef_[0]
            for label in (present[:1] if len(present) == 2 else present)
        ]
    strength = np.abs(fits).max(axis=0)
    chosen = order[np.argsort(-strength, kind="stable")][: np.clip((strength > 0).sum(), 2, _CHOSEN)]
    return np.eye(count)[:, chosen]


def _rows_to_choose_by(labels: np.ndarray) -> np.ndarray:
    """Return all records or, if there are many, evenly spaced ones of each class.

    Rows may be sorted, and classes may be rare.
    """
    if len(labels) <= _SELECTION_ROWS:
        return np.arange(len(labels))
    chosen = []
    for rows in (np.flatnonzero(labels == label) for label in np.unique(labels)):
        count = min(len(rows), max(len(rows) * _SELECTION_ROWS // len(labels), _PER_CLASS))
        chosen.append(rows[np.arange(count) * len(rows) // count])
    return np.sort(np.concatenate(chosen))


def pair_directions(parts: Sequence[Array], labels: np.ndarray, rank: int) -> Directions:
    """Return the directions of two modalities whose products differ most between classes.

    They are scaled to unit standard deviation.
    """
    first, second = parts
    indicators = np.eye(int(labels.max()) + 1)[labels]
    indicators -= indicators.mean(axis=0)
    # (classes, columns, columns)
    moments = np.stack([(first * indicator[:, None]).T @ second for indicator in indicators.T])
    bases = [
        np.linalg.svd(np.moveaxis(moments, axis, 0).reshape(moments.shape[axis], -1), full_matrices=False)[0]
        for axis in (1, 2)
    ]
    weights = tuple(
        basis[:, :rank] / ((part @ basis[:, :rank]).std(axis=0) + 1e-9)
        for part, basis in zip(parts, bases, strict=True)
    )
    return Directions(weights, rank)


Single = NDArray[np.float32]
# w1 (networks, features, hidden), b1 of each factor, w2 (networks, hidden, classes), b2
Weights = list[Single]

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
    directions: Choice | None = None,
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
            for w1, start in zip(weights[0:-2:2], chosen.weights, strict=True):
                mix = draw.normal(size=(start.shape[1], recipe.hidden)) / start.shape[1] ** 0.5
                w1[network] = 1.5 * start @ mix
    best = _train(weights, factors, labels, train, held, recipe, draw)
    copies = [slice(fold * recipe.copies, (fold + 1) * recipe.copies) for fold in range(folds.count)]
    fitted = [partial(_mean_log, [part[span] for part in best], product, recipe.steps) for span in copies]
    return Expert(blocks, folds, fitted)


def _mean_log(weights: Weights, product: bool, steps: bool, parts: Sequence[Array]) -> Array:
    """Return the mean log probability over the networks of a fold."""
    hidden = reduce(np.multiply, _hidden(weights, _factors(parts, product), steps))
    return log_softmax(hidden @ weights[-2] + weights[-1], axis=-1).mean(axis=0)


def _factors(blocks: Sequence[Array], product: bool) -> list[Single]:
    return [part.astype(np.float32) for part in (blocks if product else [np.concatenate(blocks, axis=1)])]


def _split(folds: Folds, recipe: Recipe, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and the rows for early stopping, (networks, rows) each.

    No group is on both sides, as it would be recognised and training would stop too late. But if one group
    has many of the rows, they are divided without regard to groups.
    """
    fit, held = [], []
    smallest = min(int(train.sum()) for train in folds.training())
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
            slopes = _gradient(weights, [factor[rows] for factor in factors], labels[rows], recipe, draw)
            rate = recipe.rate * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
            for index, slope in enumerate(slopes):
                first[index] *= 0.9
                first[index] += 0.1 * slope
                second[index] *= 0.999
                second[index] += 0.001 * slope * slope
                if index % 2 == 0:
                    weights[index] *= 1 - recipe.rate * recipe.decay
                weights[index] -= rate * first[index] / (np.sqrt(second[index]) + 1e-8)
        loss = _loss(weights, held_rows, held_labels, recipe.steps)
        better = loss < lowest - 1e-4
        stale_epochs = np.where(better, 0, stale_epochs + 1)
        lowest = np.where(better, loss, lowest)
        for best_part, part in zip(best, weights, strict=True):
            best_part[better] = part[better]
        if (stale_epochs >= recipe.patience).all():
            break
    return best


def _hidden(weights: Weights, rows: list[Single], steps: bool) -> list[Single]:
    """Return every factor of the hidden layer, (networks, rows, hidden)."""
    sums = [part @ w + b for part, w, b in zip(rows, weights[0:-2:2], weights[1:-2:2], strict=True)]
    return [np.tanh(part) if steps else np.maximum(part, 0) for part in sums]


def _gradient(
    weights: Weights, rows: list[Single], labels: np.ndarray, recipe: Recipe, draw: np.random.Generator
) -> Weights:
    """Return the gradients of the mean cross-entropy.

    Rows are (networks, batch, features), labels (networks, batch).
    """
    w2, b2 = weights[-2:]
    factors = _hidden(weights, rows, recipe.steps)
    hidden, share = reduce(np.multiply, factors), np.float32(1 - recipe.drop)
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
        delta = reduce(np.multiply, others, hidden_error * slope)
        slopes += [part.swapaxes(-1, -2) @ delta, delta.sum(axis=1, keepdims=True)]
    return [*slopes, hidden.swapaxes(1, 2) @ error, error.sum(axis=1, keepdims=True)]


def _loss(weights: Weights, rows: list[Single], labels: np.ndarray, steps: bool) -> Array:
    hidden = reduce(np.multiply, _hidden(weights, rows, steps))
    logits = log_softmax(hidden @ weights[-2] + weights[-1], axis=-1)
    return -np.take_along_axis(logits, labels[..., None], 2).mean(axis=(1, 2)).astype(np.float64)
