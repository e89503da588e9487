"""The fixed features of one modality: standardised, reduced to their leading directions, rotated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from commlearn.batch import Modality, Spec
from commlearn.models.features.base import (
    BLOCK,
    DIMENSIONS,
    QUANTILE_ROWS,
    FeatureValues,
    Learned,
    Sample,
    leading_directions,
    some_places,
)
from commlearn.models.features.raw import NETWORKS, RAW, Cells
from commlearn.records import Chosen, Column, Drawn, image_numbers
from commlearn.seeds import numpy_generator, torch_generator

LIMIT = 6.0  # deviations to which features and components are clipped
FLOOR = 0.05  # share of a block's usual deviation: a column that varies less is not scaled up to 1
TELL_EVERY = 8  # blocks of records between messages while a network reads them, which takes seconds
COMPONENT_ROWS = 4096  # most training rows used to find the components


class FixedFeatures(Learned):
    """One modality's fixed features: (batch, dim) float32, always finite, zeros if it is absent.

    The kind's features are standardised and clipped. If there are more than 256, they are replaced by their
    leading principal components. These keep their scale, except that the components of MiniRocket and
    pictures, whose first few carry too little, get the square root of their deviation. A random rotation
    then gives every dimension about the same variance, so that a reader that standardises each does not
    whiten them, which would amplify noise.
    All dimensions together have the variance `dim`. With `networks`, outputs of a published network are
    included if its weights are installed.

    Example:
        >>> from commlearn.records import VectorColumn
        >>> column = VectorColumn(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32))
        >>> features = FixedFeatures(column.spec).learn(column, 0)
        >>> features.dim, features(column.take(np.arange(4))).shape
        (3, torch.Size([4, 3]))
    """

    centre: Tensor
    scale: Tensor
    components: Tensor
    deviation: Tensor
    turn: Tensor

    def __init__(self, spec: Spec, networks: bool = True) -> None:
        super().__init__()
        self.spec = spec
        self.raw = RAW.get(spec.kind, Cells)(spec, NETWORKS.get(spec.kind) if networks else None)
        self.store(
            kept=torch.zeros(1, dtype=torch.long),  # (features,): the name of `varying` in files of features
            centre=torch.zeros(1),  # (features,)
            scale=torch.ones(1),  # (features,)
            components=torch.zeros(0, 0),  # (features, dim); empty = features are used directly
            deviation=torch.ones(1),  # (dim,): of each component on training rows
            turn=torch.zeros(1, 1),  # (dim, dim): weights each component, then rotates all
        )

    @property
    def dim(self) -> int:
        """Number of dimensions; known once the features have learned."""
        return len(self.turn)

    @property
    def varying(self) -> Tensor:
        """Column numbers of the raw features that vary, (features,)."""
        return self.get_buffer("kept")

    @torch.no_grad()
    def learn(
        self,
        column: Column,
        seed: int,
        rows: int = 20_000,
        tell: Callable[[str], None] = lambda line: None,
    ) -> FixedFeatures:
        """Learn from training rows, without labels; records without the modality are left out."""
        sample = Sample(column, some_places(len(column), rows, numpy_generator(seed, "features")))
        self.raw.choose_network(sample)
        self.raw.learn(sample, seed)
        self.raw.to(self.turn.device)  # what it learned is on the CPU
        if self.raw.source:
            tell(f"fixed features are {self.raw.source}")
        device = self.turn.device
        parts = []
        for part in sample:
            parts.append(self.raw(part.apply(lambda value: value.to(device))))
            if self.raw.uses_network and len(parts) % TELL_EVERY == 0:
                tell(f"read {len(parts) * BLOCK} of {len(sample)} records")
        group = np.repeat(np.arange(len(parts[0])), [values.shape[1] for values in parts[0]])
        raw = torch.cat([torch.cat(groups, dim=1).cpu() for groups in parts])
        self._standardise(raw, seed)
        self._find_components(raw, group, seed)
        return self.to(device)

    @torch.no_grad()
    def forward(self, modality: Modality) -> Tensor:
        """Return the features of a batch of records, (batch, dim)."""
        values = self._standardised(torch.cat(self.raw(modality), dim=1))  # (batch, features)
        if self.components.numel():
            values = values @ self.components  # (batch, dim)
        values = (values / self.deviation).clamp(-LIMIT, LIMIT) @ self.turn  # (batch, dim)
        return values if modality.present is None else values * modality.present[:, None]

    def _standardised(self, raw: Tensor) -> Tensor:
        values = raw.index_select(1, self.varying).nan_to_num(nan=0.0)
        return ((values - self.centre) / self.scale).nan_to_num().clamp(-LIMIT, LIMIT)

    def _standardise(self, raw: Tensor, seed: int) -> None:
        """Find each feature's centre and scale, with outliers clipped; drop features that never vary."""
        rows = some_places(len(raw), QUANTILE_ROWS, numpy_generator(seed, "quantiles"))
        values = np.nan_to_num(raw.numpy())
        low, high = np.quantile(values[rows], [0.02, 0.98], axis=0).astype(np.float64)
        # inf: few values differ, but they carry information, such as a rare class
        reach = np.where(high > low, 10 * (high - low), np.inf)
        mean, deviation = np.empty(len(low)), np.empty(len(low))
        for start in range(0, len(low), 128):  # float64, a few columns at a time
            block = slice(start, start + 128)
            part = np.clip(values[:, block].astype(np.float64), (low - reach)[block], (high + reach)[block])
            mean[block], deviation[block] = part.mean(axis=0), part.std(axis=0)
        alive = deviation > 1e-6 * np.abs(mean) + 1e-12
        varying = np.flatnonzero(alive) if alive.any() else np.zeros(1, dtype=np.int64)
        median = float(np.median(deviation[varying]))
        if self.raw.same_unit:  # deviations must stay comparable: one scale for all
            scale = np.full(len(varying), np.sqrt((deviation[varying] ** 2).mean()))
        else:
            scale = np.maximum(deviation[varying], FLOOR * median)
        scale = np.clip(np.where(scale > 0, scale, 1.0), 1e-30, 1e30)
        self.store(
            kept=varying.astype(np.int64),
            centre=mean[varying].astype(np.float32),
            scale=scale.astype(np.float32),
        )

    def _find_components(self, raw: Tensor, group: np.ndarray, seed: int) -> None:
        """Find the directions in which records differ most, with all groups of features counting the same."""
        self.store(components=torch.zeros(0, 0))
        member = group[self.varying.numpy()]  # (features,)
        sizes = np.bincount(member)
        balance = torch.from_numpy(np.sqrt(len(member) / (np.count_nonzero(sizes) * sizes[member]))).float()
        reduced = len(member) > DIMENSIONS
        if reduced:
            rows = some_places(len(raw), COMPONENT_ROWS, numpy_generator(seed, "component-rows"))
            sample = self._standardised(raw[rows]) * balance
            leading = leading_directions(sample - sample.mean(dim=0), DIMENSIONS, seed)
            self.store(components=balance[:, None] * leading)
        parts = [self._standardised(raw[start : start + BLOCK]) for start in range(0, len(raw), BLOCK)]
        values = torch.cat([part @ self.components if reduced else part for part in parts])
        deviation = values.double().std(dim=0, correction=0)
        significant = deviation > 1e-4 * deviation.max()
        unequal = reduced or self.raw.same_unit
        scale = deviation.pow(self.raw.softness) if unequal else deviation * balance
        scale = scale * significant
        total = scale.square().sum()
        turn = torch.diag(scale * (len(scale) / total).sqrt() if total > 0 else torch.zeros_like(scale))
        if unequal:
            turn = turn @ _rotation(len(scale), seed)
        self.store(deviation=torch.where(significant, deviation, 1.0).float(), turn=turn.float())


def _rotation(size: int, seed: int) -> Tensor:
    """Return a random rotation, (size, size) float64."""
    matrix = torch.randn(size, size, generator=torch_generator(seed, "rotation"), dtype=torch.float64)
    return torch.linalg.qr(matrix)[0]


@dataclass(frozen=True)
class FeatureColumn:
    """Features of one modality of many records; records that show the same image share them."""

    values: np.ndarray  # (distinct, dim) float32
    present: np.ndarray | None  # (distinct,) bool, False = the record lacks the modality
    index: np.ndarray  # (records,): row of `values` that each record has

    @property
    def spec(self) -> Spec:
        return Spec("vector", self.values.shape[1:])

    def __len__(self) -> int:
        return len(self.index)

    def presence(self, rows: np.ndarray) -> np.ndarray:
        """Return which of these records have the modality, (rows,) bool."""
        if self.present is None:
            return np.ones(len(rows), dtype=bool)
        return self.present[self.index[rows]]

    def take(self, rows: np.ndarray) -> FeatureValues:
        indices = self.index[rows]
        present = None if self.present is None else torch.from_numpy(self.present[indices])
        return FeatureValues(torch.from_numpy(self.values[indices]), None, present)


def feature_column(features: FixedFeatures, column: Column, device: torch.device | None = None) -> Column:
    """Compute a column's features, for every version if records have several; feature columns stay unchanged.

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
        all_versions = feature_column(features, Chosen(column.column, np.concatenate(versions)), device)
        return Drawn(all_versions, column.count.cumsum() - column.count, column.count)
    numbers = image_numbers(column)
    if numbers is None:
        rows = index = np.arange(len(column))
    else:
        _, rows, index = np.unique(numbers, return_index=True, return_inverse=True)
    features = features if device is None else features.to(device)
    parts = [_computed(features, column.take(rows[i : i + BLOCK])) for i in range(0, len(rows), BLOCK)]
    empty = torch.zeros(0, features.dim)
    values = torch.cat([empty, *(part.values for part in parts)]).numpy()
    return FeatureColumn(values, _present(parts), index)


def _computed(features: FixedFeatures, modality: Modality) -> Modality:
    device = features.turn.device
    values = features(modality.apply(lambda tensor: tensor.to(device))).cpu()
    return Modality(values, None, modality.present)


def _present(parts: list[Modality]) -> np.ndarray | None:
    """Return which records have the modality; None if all do."""
    masks = [part.there.numpy() for part in parts]
    present = np.concatenate(masks) if masks else np.ones(0, dtype=bool)
    return None if present.all() else present
