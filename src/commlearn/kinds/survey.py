"""One pass over a column of tensors: what each record looks like in short, and how long it is.

Records are compared as a model sees them, standardised and cut to length, so that one pass serves
every kind: numbers are rounded to a twentieth of their deviation, images to a coarse thumbnail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from commlearn.data.batch import Modality
from commlearn.data.records import Column

__all__ = ["Survey", "features", "glance", "survey"]

PART = 1024  # rows at a time
GRAIN = 0.05  # of standardised numbers: what is closer counts as equal
THUMB = 8  # pixels a side
SHADES = 16  # levels of grey that count as equal
BINS = 256  # of a bag of words
CODES = 32  # categories of a column with a feature of their own


@dataclass(frozen=True)
class Survey:
    """What one pass over a column found."""

    prints: np.ndarray  # (records,) int64: equal where records look equal; 0 = absent
    lengths: np.ndarray | None  # (records,) steps or tokens; None where all are of one size
    bytes: int  # of all records, as batches hold them


def survey(column: Column) -> Survey:
    """The look of every record."""
    prints = np.zeros(len(column), dtype=np.int64)
    lengths = np.zeros(len(column), dtype=np.int64)
    size, padded = 0, False
    for rows, modality in _parts(column, np.arange(len(column))):
        size += modality.values.nbytes
        coarse = np.ascontiguousarray(_coarse(modality, column.spec.kind))
        steps = np.full(len(rows), coarse.shape[1] if coarse.ndim > 1 else 1)
        if modality.padding is not None:
            padded, steps = True, (~modality.padding).sum(dim=1).numpy()
        there = np.ones(len(rows), bool) if modality.present is None else modality.present.numpy()
        for place in np.flatnonzero(there).tolist():
            prints[rows[place]] = hash(coarse[place, : steps[place]].tobytes())
        lengths[rows] = np.where(there, steps, 0)
    return Survey(prints, lengths if padded or column.spec.kind == "text" else None, size)


def features(column: Column, rows: np.ndarray) -> np.ndarray:
    """A few cheap numbers for each of these records, (rows, features)."""
    parts = [glance(modality, column.spec) for _, modality in _parts(column, rows)]
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


def glance(modality: Modality, spec: tuple[str, tuple[int, ...]]) -> torch.Tensor:
    """A few cheap numbers for each record of a batch, (batch, features): what a glance would catch."""
    kind, shape = spec
    values = modality.values
    if kind == "image":
        return _thumbnails(values).flatten(1)
    if kind == "text":
        return _bag(values, modality.padding)
    values = values.float().nan_to_num(0.0)
    if kind == "tabular" and len(shape) > 1:
        codes = values[:, shape[0] :].long().clamp(max=CODES - 1)
        return torch.cat([values[:, : shape[0]], F.one_hot(codes, CODES).flatten(1).float()], dim=1)
    return values if values.ndim == 2 else _moments(values, modality.padding)


def _bag(ids: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
    """How often words of each bin occur, as logarithms."""
    real = torch.ones_like(ids, dtype=torch.float) if padding is None else (~padding).float()
    return torch.zeros(len(ids), BINS).scatter_add_(1, ids % BINS, real).log1p()


def _moments(values: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
    """Mean, deviation and mean step of each channel over the real steps, (batch, 3 * channels)."""
    values = values.flatten(2)  # (batch, length, channels)
    real = torch.ones(values.shape[:2]) if padding is None else (~padding).float()
    count = real.sum(dim=1).clamp(min=1)[:, None]  # (batch, 1)
    mean = (values * real[..., None]).sum(dim=1) / count
    spread = ((values - mean[:, None]) ** 2 * real[..., None]).sum(dim=1) / count
    step = (values[:, 1:] - values[:, :-1]).abs() * real[:, 1:, None]
    return torch.cat([mean, spread.sqrt(), step.sum(dim=1) / count], dim=1)
