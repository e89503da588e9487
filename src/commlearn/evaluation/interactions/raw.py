"""Raw columns of a table as plain arrays, without any model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from commlearn.data.batch import Modality
from commlearn.data.records import Column, Records, Spec
from commlearn.data.tables import Table
from commlearn.evaluation.marginals import Array
from commlearn.kinds.schema import Schema
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.vector import Vector

__all__ = ["raw_arrays", "schema_of"]

_CHUNK = 1024  # records
_SIDE = 16  # pixels that an image is averaged to
_WORDS = 256  # counts that words are hashed to


def schema_of(columns: Mapping[str, Any], table: Table) -> Schema:
    """A schema from names of columns: numbers and categories are tabular, lists and arrays vectors."""
    kinds: dict[str, Any] = {}
    for name, given in columns.items():
        chosen = [given] if isinstance(given, str) else list(given)
        lists = len(chosen) == 1 and chosen[0] in table.frame and _holds_lists(table.frame[chosen[0]])
        kinds[name] = Vector(chosen[0]) if lists else Tabular(chosen)
    return Schema(kinds)


def _holds_lists(cells: pd.Series) -> bool:
    there = cells.dropna()
    return bool(len(there)) and np.ndim(there.iloc[0]) == 1


def raw_arrays(records: Records) -> dict[str, Array]:
    """Every modality as (records, features)."""
    return {name: _flat(column) for name, column in records.columns.items()}


def _flat(column: Column) -> Array:
    parts = []
    for start in range(0, len(column), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(column)))
        parts.append(_FLATTEN.get(column.spec.kind, _as_it_is)(column.take(rows), column.spec))
    return np.concatenate(parts).astype(np.float64)


def _as_it_is(modality: Modality, spec: Spec) -> np.ndarray:
    return modality.values.reshape(len(modality.values), -1).float().numpy()


def _image(modality: Modality, spec: Spec) -> np.ndarray:
    small = torch.nn.functional.adaptive_avg_pool2d(modality.values.float(), _SIDE)
    return small.reshape(len(small), -1).numpy()


def _tabular(modality: Modality, spec: Spec) -> np.ndarray:
    """Numbers with a mark where one is missing, and a column for each category."""
    values = modality.values.float().numpy()
    numbers, codes = values[:, : spec.shape[0]], values[:, spec.shape[0] :]
    missing = np.isnan(numbers)
    columns = [np.where(missing, 0.0, numbers), missing[:, missing.any(axis=0)]]
    for place, count in enumerate(spec.shape[1:]):
        columns.append(np.eye(count)[np.nan_to_num(codes[:, place]).astype(int).clip(0, count - 1)])
    return np.concatenate(columns, axis=1)


def _series(modality: Modality, spec: Spec) -> np.ndarray:
    """Mean, deviation, ends and trend of every channel over the steps that are there."""
    values = modality.values.float().nan_to_num().reshape(len(modality.values), modality.values.shape[1], -1)
    kept = torch.ones(values.shape[:2]) if modality.padding is None else (~modality.padding).float()
    kept = kept[..., None]  # (batch, steps, 1)
    count = kept.sum(dim=1).clamp(min=1)
    mean = (values * kept).sum(dim=1) / count
    away = (values - mean[:, None]) * kept
    spread = (away**2).sum(dim=1).div(count).sqrt()
    change = ((values[:, 1:] - values[:, :-1]).abs() * kept[:, 1:]).sum(dim=1) / count
    time = torch.arange(values.shape[1], dtype=torch.float32)[None, :, None] * kept
    trend = (away * (time - time.sum(dim=1, keepdim=True) / count[:, None])).sum(dim=1) / count
    return torch.cat([mean, spread, change, trend], dim=1).numpy()


def _text(modality: Modality, spec: Spec) -> np.ndarray:
    """How often each word occurs, words hashed."""
    ids = modality.values.long()
    kept = torch.ones_like(ids) if modality.padding is None else (~modality.padding).long()
    counts = torch.zeros(len(ids), _WORDS)
    counts.scatter_add_(1, (ids * 2654435761 % 4294967296) % _WORDS, kept.float())
    return counts.log1p().numpy()


_FLATTEN: dict[str, Any] = {
    "image": _image,
    "tabular": _tabular,
    "series": _series,
    "audio": _series,
    "text": _text,
}
