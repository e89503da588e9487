"""Fixed features of many records, computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from commlearn.batch import Modality, Spec
from commlearn.models.features.base import BLOCK, FeatureValues
from commlearn.models.features.fixed import FixedFeatures
from commlearn.records import Chosen, Column, Drawn, image_numbers

__all__ = ["FeatureColumn", "feature_column"]


@dataclass(frozen=True)
class FeatureColumn:
    """The features of one modality of many records; records that show the same image share theirs."""

    values: np.ndarray  # (distinct, dim) float32
    present: np.ndarray | None  # (distinct,) bool, False = the record lacks the modality
    index: np.ndarray  # (records,): which features each record has

    @property
    def spec(self) -> Spec:
        return Spec("vector", self.values.shape[1:])

    def __len__(self) -> int:
        return len(self.index)

    def there(self, rows: np.ndarray) -> np.ndarray:
        """Which of these records have the modality, (rows,) bool."""
        if self.present is None:
            return np.ones(len(rows), dtype=bool)
        return self.present[self.index[rows]]

    def take(self, rows: np.ndarray) -> FeatureValues:
        places = self.index[rows]
        present = None if self.present is None else torch.from_numpy(self.present[places])
        return FeatureValues(torch.from_numpy(self.values[places]), None, present)


def feature_column(features: FixedFeatures, column: Column, device: torch.device | None = None) -> Column:
    """The column's features, of every version where records have several; features stay what they are.

    Args:
        features: of the modality, after they have learned.
        column: values of the modality.
        device: where they are computed; where the features are if not given.

    Example:
        >>> from commlearn.records import VectorColumn
        >>> column = VectorColumn(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32))
        >>> computed = feature_column(FixedFeatures(column.spec).learn(column, 0), column)
        >>> computed.spec, computed.take(np.array([4, 2])).values.shape
        (Spec(kind='vector', shape=(3,)), torch.Size([2, 3]))
    """
    if isinstance(column.take(np.zeros(0, dtype=np.int64)), FeatureValues):
        return column
    if isinstance(column, Drawn):
        versions = [np.arange(first, first + n) for first, n in zip(column.first, column.count, strict=True)]
        every = feature_column(features, Chosen(column.column, np.concatenate(versions)), device)
        return Drawn(every, column.count.cumsum() - column.count, column.count)
    numbers = image_numbers(column)
    if numbers is None:
        rows = index = np.arange(len(column))
    else:
        _, rows, index = np.unique(numbers, return_index=True, return_inverse=True)
    features = features if device is None else features.to(device)
    parts = [_computed(features, column.take(rows[at : at + BLOCK])) for at in range(0, len(rows), BLOCK)]
    nothing = torch.zeros(0, features.dim)
    values = torch.cat([nothing, *(part.values for part in parts)]).numpy()
    return FeatureColumn(values, _present(parts), index)


def _computed(features: FixedFeatures, modality: Modality) -> Modality:
    device = features.turn.device
    values = features(modality.apply(lambda tensor: tensor.to(device))).cpu()
    return Modality(values, None, modality.present)


def _present(parts: list[Modality]) -> np.ndarray | None:
    """Which records have the modality; None if all do."""
    masks = [
        np.ones(len(part), dtype=bool) if part.present is None else part.present.numpy() for part in parts
    ]
    there = np.concatenate(masks) if masks else np.ones(0, dtype=bool)
    return None if there.all() else there
