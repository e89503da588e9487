"""Fingerprints and cheap features of records, and a test for rows that were shuffled against each other.

Records are compared as a model sees them, standardised and cut to length, so that one pass serves
every kind: numbers are rounded to a twentieth of their deviation, and images are reduced to a coarse
thumbnail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F

from commlearn.batch import Modality
from commlearn.kinds.base import Problem
from commlearn.kinds.rows import evenly_spaced
from commlearn.records import Column, presence
from commlearn.seeds import numpy_generator

PART = 1024  # rows to read at a time
GRAIN = 0.05  # in standardised units: numbers that are rounded to the same multiple count as equal
THUMB = 8  # pixels per side of a thumbnail
SHADES = 16  # grey levels that count as equal
BINS = 256  # bins of a bag of words
CODES = 32  # features per column of categories; the last is shared by all further ones


@dataclass(frozen=True)
class Survey:
    """The result of one pass over a column."""

    prints: np.ndarray  # (records,) int64: equal if records look equal; 0 = absent
    lengths: np.ndarray | None  # (records,) steps or tokens; None if all have the same size
    bytes: int  # size of all records, as stored in batches


def survey(column: Column) -> Survey:
    """Compute the fingerprints and lengths of a column's records, and their total size."""
    prints = np.zeros(len(column), dtype=np.int64)
    lengths = np.zeros(len(column), dtype=np.int64)
    size, padded = 0, False
    for rows, modality in _parts(column, np.arange(len(column))):
        size += modality.values.nbytes
        coarse = np.ascontiguousarray(_coarse(modality, column.spec.kind))
        steps = np.full(len(rows), coarse.shape[1] if coarse.ndim > 1 else 1)
        if modality.padding is not None:
            padded, steps = True, modality.real.sum(dim=1).numpy()
        present = modality.presence.numpy()
        for index in np.flatnonzero(present).tolist():
            prints[rows[index]] = hash(coarse[index, : steps[index]].tobytes())
        lengths[rows] = np.where(present, steps, 0)
    return Survey(prints, lengths if padded or column.spec.kind == "text" else None, size)


def features(column: Column, rows: np.ndarray) -> np.ndarray:
    """Compute a few cheap features of each of these records, (rows, features)."""
    parts = [quick_features(modality, column.spec) for _, modality in _parts(column, rows)]
    return torch.cat(parts).double().numpy()


def _parts(column: Column, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Modality]]:
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        yield part, column.take(part)


def _coarse(modality: Modality, kind: str) -> np.ndarray:
    values = modality.values
    if kind == "image":
        return (_thumbnails(values) / SHADES).round().to(torch.uint8).flatten(1).numpy()
    if not values.dtype.is_floating_point:
        return values.numpy()
    return (values / GRAIN).nan_to_num(1e9).round().clamp(-(2**30), 2**30).to(torch.int32).numpy()


def _thumbnails(images: torch.Tensor) -> torch.Tensor:
    return F.adaptive_avg_pool2d(images.float(), THUMB)  # (batch, channels, 8, 8)


def quick_features(modality: Modality, spec: tuple[str, tuple[int, ...]]) -> torch.Tensor:
    """Compute a few cheap features of each record of a batch, (batch, features)."""
    kind, shape = spec
    values = modality.values
    if kind == "image":
        return _thumbnails(values).flatten(1)
    if kind == "text":  # the logarithm of how often words of each bin occur
        counts = torch.zeros(len(modality), BINS)
        return counts.scatter_add_(1, values % BINS, modality.real.float()).log1p()
    values = values.float().nan_to_num(0.0)
    if kind == "tabular" and len(shape) > 1:
        codes = values[:, shape[0] :].long().clamp(max=CODES - 1)
        return torch.cat([values[:, : shape[0]], F.one_hot(codes, CODES).flatten(1).float()], dim=1)
    return values if values.ndim == 2 else moments(values.flatten(2), modality.real.float())


def moments(values: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return mean, deviation and mean change of each channel over the real steps, (batch, 3 * channels)."""
    count = real.sum(dim=1).clamp(min=1)[:, None]  # (batch, 1)
    mean = (values * real[..., None]).sum(dim=1) / count
    variance = ((values - mean[:, None]) ** 2 * real[..., None]).sum(dim=1) / count
    step = (values[:, 1:] - values[:, :-1]).abs() * real[:, 1:, None]
    return torch.cat([mean, variance.sqrt(), step.sum(dim=1) / count], dim=1)


ROWS = 2_000  # rows of the table to compare, at most
FEWEST = 60  # minimum number of rows with both modalities: fewer show nothing
INPUTS, OUTPUTS = 32, 8  # principal components
SHUFFLES = 100  # a pair shares signal if it beats all of them


def shuffled(columns: dict[str, Column]) -> list[Problem]:
    """Return a warning for each pair of modalities that shows no sign of belonging together.

    The test is cheap and misses synergy and fine detail, so it only warns.
    """
    present = {name: presence(column) for name, column in columns.items()}
    problems = []
    for first, second in combinations(columns, 2):
        rows = np.flatnonzero(present[first] & present[second])
        rows = rows[list(evenly_spaced(len(rows), ROWS))]
        if len(rows) < FEWEST:
            continue
        if not shares_signal(features(columns[first], rows), features(columns[second], rows)):
            message = (
                f"no signal shared by {first} and {second} was found in {len(rows)} rows: are their rows "
                "shuffled against each other? Ignore this if they share little, or inform only in combination"
            )
            problems.append(Problem(message, level="warning"))
    return problems


def shares_signal(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether either predicts the other better than after any of 100 shuffles of the other's rows.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 5))
        >>> shares_signal(rows[:, :3], rows[:, 2:]), shares_signal(rows[:, :3], rows[::-1, 2:])
        (True, False)
    """
    return _predicts(first, second) or _predicts(second, first)


def _predicts(inputs: np.ndarray, outputs: np.ndarray) -> bool:
    """Whether ridge regression of principal components has a higher held-out R2 than on shuffled rows."""
    x, y = _components(inputs, INPUTS), _components(outputs, OUTPUTS)
    if not x.shape[1] or not y.shape[1]:
        return True  # constant features are reported elsewhere; there is nothing to compare
    generator = numpy_generator(0, "shared signal")
    order = generator.permutation(len(x))
    fit, held = order[: len(x) // 2], order[len(x) // 2 :]
    gram = x[fit].T @ x[fit] + 0.1 * len(fit) * np.eye(x.shape[1])
    smoother = x[held] @ np.linalg.solve(gram, x[fit].T)  # (held, fit): predictions are this times y

    def score(y: np.ndarray) -> float:
        return -float(((y[held] - smoother @ y[fit]) ** 2).sum() / (y[held] ** 2).sum())

    best = max(score(y[generator.permutation(len(y))]) for _ in range(SHUFFLES))
    return score(y) > best


def _components(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the first principal components of standardised features, each scaled to variance 1."""
    scale = rows.std(axis=0)
    varying = scale > 1e-9
    rows = (rows[:, varying] - rows[:, varying].mean(axis=0)) / scale[varying]
    left, size, _ = np.linalg.svd(rows, full_matrices=False)
    strong = size[:count] > 1e-6 * max(size.max(initial=0), 1e-12)
    return left[:, :count][:, strong] * np.sqrt(len(rows))
