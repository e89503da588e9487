"""Raw features: each modality as a plain vector, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.batch import Modality, Spec
from commlearn.comparison.baselines.base import Given
from commlearn.records import Records

PIXELS = 16  # a side, to which an image is averaged
WORDS = 2000  # the most frequent of the first part
BLOCK = 512  # records at a time


def raw(given: Given, parts: Sequence[Records], names: Sequence[str] | None = None) -> list[np.ndarray]:
    """The named modalities' features side by side; all if none are named."""
    columns = raw_parts(parts, names or list(given.data.train.specs))
    return [np.concatenate([rows[part] for rows in columns.values()], axis=1) for part in range(len(parts))]


def raw_parts(parts: Sequence[Records], names: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Each modality's features in each part, (records, features).

    Vectors and cells of tables as they are, categories one-hot, images averaged to 16 x 16 pixels, series
    and audio by five statistics of each channel, text by the weighted counts of its words. A record without
    the modality has zeros; where some have none, one more feature says so.
    """
    features_of = {}
    for name in names:
        spec = parts[0].specs[name]
        rows = [_read(records, name, _FLAT.get(spec.kind, _any), spec) for records in parts]
        features = [values for values, _ in rows]
        if spec.kind == "text":
            features = _weighted(features)
        if any(not there.all() for _, there in rows):
            features = [
                np.concatenate([values * there[:, None], ~there[:, None]], axis=1, dtype=np.float32)
                for values, (_, there) in zip(features, rows, strict=True)
            ]
        features_of[name] = features
    return features_of


def _read(
    records: Records, name: str, flat: Callable[[Modality, Spec], Tensor], spec: Spec
) -> tuple[np.ndarray, np.ndarray]:
    """Features, (records, features), and which records have the modality."""
    values, there = [], []
    for start in range(0, len(records), BLOCK):
        modality = records.view(slice(start, start + BLOCK), [name])[name]
        values.append(torch.nan_to_num(flat(modality, spec).float()).numpy())
        present = modality.present
        there.append(np.ones(len(modality), dtype=bool) if present is None else present.numpy())
    return np.concatenate(values), np.concatenate(there)


def _any(modality: Modality, spec: Spec) -> Tensor:
    return _steps(modality, spec) if modality.values.ndim > 2 else modality.values.flatten(1)


def _pixels(modality: Modality, spec: Spec) -> Tensor:  # (batch, channels, height, width)
    height, width = (min(PIXELS, side) for side in modality.values.shape[-2:])
    return F.adaptive_avg_pool2d(modality.values.float(), (height, width)).flatten(1)


def _cells(modality: Modality, spec: Spec) -> Tensor:
    """Numbers with zero where one is missing, which ones are missing, and categories one-hot."""
    numbers, codes = modality.values[:, : spec.shape[0]], modality.values[:, spec.shape[0] :]
    chosen = [F.one_hot(codes[:, i].long(), size) for i, size in enumerate(spec.shape[1:])]
    return torch.cat([numbers.nan_to_num(), numbers.isnan(), *chosen], dim=1)


def _steps(modality: Modality, spec: Spec) -> Tensor:
    """Mean, deviation, least, most and mean change of each channel, over steps that are not padding."""
    values = modality.values.float().nan_to_num().flatten(2)  # (batch, steps, channels)
    padding = modality.padding
    real = torch.ones(values.shape[:2], dtype=torch.bool) if padding is None else ~padding
    weight = real[..., None].float()
    count = weight.sum(dim=1).clamp(min=1)  # (batch, 1)
    mean = (values * weight).sum(dim=1) / count
    deviation = (((values - mean[:, None]) ** 2 * weight).sum(dim=1) / count).sqrt()
    least = values.masked_fill(~real[..., None], torch.inf).amin(dim=1)
    most = values.masked_fill(~real[..., None], -torch.inf).amax(dim=1)
    both = weight[:, 1:] * weight[:, :-1]
    change = ((values[:, 1:] - values[:, :-1]).abs() * both).sum(dim=1) / both.sum(dim=1).clamp(min=1)
    statistics = torch.cat([mean, deviation, least, most, change], dim=1)
    return statistics.nan_to_num(posinf=0.0, neginf=0.0)  # a record without a step


def _words(modality: Modality, spec: Spec) -> Tensor:
    """How often each id occurs, (batch, ids)."""
    counts = torch.zeros(len(modality), spec.shape[0])
    real = torch.ones_like(modality.values, dtype=torch.float32)
    if modality.padding is not None:
        real = (~modality.padding).float()
    return counts.scatter_add_(1, modality.values, real)


def _weighted(parts: list[np.ndarray]) -> list[np.ndarray]:
    """tf-idf of the most frequent ids of the first part; rows of length 1."""
    within = (parts[0] > 0).sum(axis=0)
    chosen = np.sort(np.argsort(-within, kind="stable")[:WORDS])
    chosen = chosen[within[chosen] > 0]
    rarity = np.log((1 + len(parts[0])) / (1 + within[chosen])) + 1
    weighted = [np.log1p(counts[:, chosen]) * rarity for counts in parts]
    return [
        (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
        for rows in weighted
    ]


_FLAT: dict[str, Callable[[Modality, Spec], Tensor]] = {
    "image": _pixels,
    "tabular": _cells,
    "series": _steps,
    "audio": _steps,
    "text": _words,
}
