"""Modalities as plain arrays of numbers, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from commlearn.batch import Modality, Spec
from commlearn.records import Column, Records
from commlearn.tables.signal import moments

Array = NDArray[np.float64]

_CHUNK = 1024  # records read at a time
_SIDE = 16  # pixels per side to which images are averaged
_WORDS = 256  # buckets to which words are hashed


def raw_arrays(records: Records) -> dict[str, Array]:
    """Return every modality as an array, (records, features)."""
    return {name: _flat(column) for name, column in records.columns.items()}


def _flat(column: Column) -> Array:
    # A table is read at once, because its features depend on where values are missing in any record.
    size = len(column) if column.spec.kind == "tabular" else _CHUNK
    parts = []
    for start in range(0, len(column), size):
        rows = np.arange(start, min(start + size, len(column)))
        parts.append(_FLATTEN.get(column.spec.kind, _flat_values)(column.take(rows), column.spec))
    return np.concatenate(parts).astype(np.float64)


def _flat_values(modality: Modality, spec: Spec) -> np.ndarray:
    return modality.values.reshape(len(modality.values), -1).float().numpy()


def _image(modality: Modality, spec: Spec) -> np.ndarray:
    small = torch.nn.functional.adaptive_avg_pool2d(modality.values.float(), _SIDE)
    return small.reshape(len(small), -1).numpy()


def _tabular(modality: Modality, spec: Spec) -> np.ndarray:
    """Return numbers, with indicators of missing ones, and a column for each category."""
    values = modality.values.float().numpy()
    numbers, codes = values[:, : spec.shape[0]], values[:, spec.shape[0] :]
    missing = np.isnan(numbers)
    columns = [np.where(missing, 0.0, numbers), missing[:, missing.any(axis=0)]]
    for index, count in enumerate(spec.shape[1:]):
        columns.append(np.eye(count)[np.nan_to_num(codes[:, index]).astype(int).clip(0, count - 1)])
    return np.concatenate(columns, axis=1)


def _series(modality: Modality, spec: Spec) -> np.ndarray:
    """Return the mean, deviation, mean step and trend of every channel over the real steps."""
    values = modality.values.float().nan_to_num().reshape(len(modality.values), modality.values.shape[1], -1)
    statistics = moments(values, modality.real.float())
    valid = modality.real.float()[..., None]  # (batch, steps, 1)
    count = valid.sum(dim=1).clamp(min=1)
    deviations = (values - statistics[:, None, : values.shape[2]]) * valid
    time = torch.arange(values.shape[1], dtype=torch.float32)[None, :, None] * valid
    trend = (deviations * (time - time.sum(dim=1, keepdim=True) / count[:, None])).sum(dim=1) / count
    return torch.cat([statistics, trend], dim=1).numpy()


def _text(modality: Modality, spec: Spec) -> np.ndarray:
    """Return log counts of words, hashed into buckets."""
    ids = modality.values.long()
    counts = torch.zeros(len(ids), _WORDS)
    counts.scatter_add_(1, (ids * 2654435761 % 4294967296) % _WORDS, modality.real.float())
    return counts.log1p().numpy()


_FLATTEN: dict[str, Any] = {
    "image": _image,
    "tabular": _tabular,
    "series": _series,
    "audio": _series,
    "text": _text,
}


def all_columns(values: Array) -> Array:
    """Return every column that varies, standardised; a single column of zeros if none does."""
    scale = values.std(axis=0)
    varying = scale > 1e-9 * np.abs(values).max(axis=0)
    if not varying.any():
        return np.zeros((len(values), 1))
    return (values[:, varying] - values[:, varying].mean(axis=0)) / scale[varying]
