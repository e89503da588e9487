"""The fixed features of one modality: standardised, reduced to their leading directions, rotated.

They say which records are neighbours: those that are in most modalities may replace one another as stand-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binom
from torch import Tensor

from commlearn.batch import Modality, Spec, View
from commlearn.models.features.networks import EFFICIENTNET, MINILM, Published
from commlearn.models.features.pictures import Pixels
from commlearn.models.features.raw import (
    BLOCK,
    DIMENSIONS,
    QUANTILE_ROWS,
    Cells,
    FeatureValues,
    Learned,
    Raw,
    Sample,
    Table,
    Words,
    leading_directions,
    some_places,
)
from commlearn.models.features.series import Steps
from commlearn.records import Column, Drawn, image_numbers, presence
from commlearn.seeds import numpy_generator, torch_generator

RAW: dict[str, type[Raw]] = {
    "image": Pixels,
    "tabular": Table,
    "series": Steps,
    "audio": Steps,
    "text": Words,
}
NETWORKS: dict[str, Published] = {"image": EFFICIENTNET, "text": MINILM}
LIMIT = 6.0  # deviations to which features and components are clipped
FLOOR = 0.05  # share of a block's usual deviation: a column that varies less is not scaled up to 1
TELL_EVERY = 8  # blocks of records between messages while a network reads them, which takes seconds
ROWS = 20_000  # most training rows that are read
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
        self, column: Column, seed: int, tell: Callable[[str], None] = lambda line: None
    ) -> FixedFeatures:
        """Learn from training rows, without labels; records without the modality are left out."""
        sample = Sample(column, some_places(len(column), ROWS, numpy_generator(seed, "features")))
        self.raw.choose_network(sample)
        self.raw.learn(sample, seed)
        device = self.turn.device
        self.raw.to(device)  # what it learned is on the CPU
        if self.raw.source:
            tell(f"fixed features are {self.raw.source}")
        parts = []
        for part in sample:
            parts.append(self.raw(part.apply(lambda value: value.to(device))))
            if self.raw.uses_network and len(parts) % TELL_EVERY == 0:
                tell(f"read {len(parts) * BLOCK} of {len(sample)} records")
        group = np.repeat(np.arange(len(parts[0])), [values.shape[1] for values in parts[0]])
        raw = torch.cat([torch.cat(groups, dim=1).cpu() for groups in parts])
        varies = self._standardise(raw, seed)
        self._find_components(raw, group, seed, varies)
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

    def _standardise(self, raw: Tensor, seed: int) -> bool:
        """Find each feature's centre and scale, with outliers clipped; drop features that never vary.

        Returns whether any feature varies by more than rounding errors.
        """
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
        return bool(alive.any())

    def _find_components(self, raw: Tensor, group: np.ndarray, seed: int, varies: bool) -> None:
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
        significant = (deviation > 1e-4 * deviation.max()) & varies
        unequal = reduced or self.raw.same_unit
        scale = (deviation.pow(self.raw.softness) if unequal else deviation * balance) * significant
        total = scale.square().sum()
        turn = torch.diag(scale * (len(scale) / total).sqrt() if total > 0 else torch.zeros_like(scale))
        if unequal:
            draw = torch.randn(turn.shape, generator=torch_generator(seed, "rotation"), dtype=torch.float64)
            turn = turn @ torch.linalg.qr(draw)[0]  # a random rotation
        self.store(deviation=torch.where(significant, deviation, 1.0).float(), turn=turn.float())


@dataclass(frozen=True)
class FeatureColumn:
    """Features of one modality of many records; records that show the same image share them."""

    values: np.ndarray  # (distinct, dim) float32
    filled: np.ndarray | None  # (distinct,) bool, False = no record that has this row has the modality
    index: np.ndarray  # (records,): row of `values` that each record has

    @property
    def spec(self) -> Spec:
        return Spec("vector", self.values.shape[1:])

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def present(self) -> np.ndarray | None:
        """(records,): which records have the modality; None if all do."""
        return None if self.filled is None else self.filled[self.index]

    def take(self, rows: np.ndarray) -> FeatureValues:
        indices = self.index[rows]
        present = None if self.filled is None else torch.from_numpy(self.filled[indices])
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
        return column.changed(lambda versions: feature_column(features, versions, device))
    numbers = image_numbers(column)
    if numbers is None:
        rows = index = np.arange(len(column))
    else:
        _, rows, index = np.unique(numbers, return_index=True, return_inverse=True)
    features = features if device is None else features.to(device)
    parts = [_computed(features, column.take(rows[i : i + BLOCK])) for i in range(0, len(rows), BLOCK)]
    values = torch.cat([torch.zeros(0, features.dim), *(part.values for part in parts)]).numpy()
    filled = np.concatenate([np.ones(0, dtype=bool), *(part.presence.numpy() for part in parts)])
    return FeatureColumn(values, None if filled.all() else filled, index)


def _computed(features: FixedFeatures, modality: Modality) -> Modality:
    device = features.turn.device
    values = features(modality.apply(lambda tensor: tensor.to(device))).cpu()
    return Modality(values, None, modality.present)


SHARE = 0.5  # probability that an augmented version is made from a stand-in, if the record has one
NEAREST = (3, 15)  # limits on the neighbours per modality: half the square root of the number of records
ABOVE_CHANCE = 2.0  # least ratio of stand-ins to those on which unrelated modalities would agree by chance
COMPARED = 512  # records compared with all others at a time


@dataclass(frozen=True)
class StandIns:
    """For each record, the records from which an augmented version of it may be made.

    Neighbours in only one modality may have nothing else in common. Those on which most modalities agree
    are alike in what the modalities share; if modalities share nothing, they agree on hardly any.
    """

    places: np.ndarray  # (records, most) int64: the stand-ins of each record, then -1
    count: np.ndarray  # (records,): number of stand-ins of each record
    columns: Mapping[str, FeatureColumn]

    def view(self, rows: np.ndarray, generator: np.random.Generator) -> View:
        """Return a view of these records, about half of those with stand-ins replaced by one.

        A modality that only one of the two has is taken from the record itself.
        """
        chosen = self.places[rows, (generator.random(len(rows)) * self.count[rows]).astype(np.int64)]
        replaced = (generator.random(len(rows)) < SHARE) & (self.count[rows] > 0)
        chosen = np.where(replaced, chosen, rows)
        view: View = {}
        for name, column in self.columns.items():
            own_mask, chosen_mask = presence(column, rows), presence(column, chosen)
            view[name] = column.take(np.where(own_mask == chosen_mask, chosen, rows))
        return view


def stand_ins(columns: Mapping[str, FeatureColumn]) -> StandIns | None:
    """Find the stand-ins of each record; None with one modality, or if modalities hardly agree on any.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
        >>> rows = np.concatenate([rows, rows + 0.01])  # every record twice
        >>> column = FeatureColumn(rows, None, np.arange(80))
        >>> result = stand_ins({"a": column, "b": column})
        >>> 40 in result.places[0]
        True
    """
    records = len(next(iter(columns.values())))
    if len(columns) < 2 or records < 2:
        return None
    nearest = min(int(np.clip(0.5 * records**0.5, *NEAREST)), records - 1)
    rows, others = np.concatenate(list(_agreeing_pairs(columns, nearest))).T
    count = np.bincount(rows, minlength=records)
    by_chance = records * binom.sf(len(columns) // 2, len(columns), nearest / records)
    if count.mean() < ABOVE_CHANCE * by_chance:
        return None
    table = np.full((records, count.max()), -1, dtype=np.int64)
    table[rows, np.arange(len(rows)) - np.repeat(count.cumsum() - count, count)] = others
    return StandIns(table, count, columns)


def _agreeing_pairs(columns: Mapping[str, FeatureColumn], nearest: int) -> Iterator[np.ndarray]:
    """Yield pairs of a record, in order, and another that is near it in more than half of the modalities."""
    records = len(next(iter(columns.values())))
    majority = len(columns) // 2 + 1
    directions = [
        (F.normalize(torch.from_numpy(column.values), dim=1)[torch.from_numpy(column.index)], present)
        for column in columns.values()
        for present in [torch.from_numpy(presence(column))]
    ]
    for start in range(0, records, COMPARED):
        block = slice(start, min(start + COMPARED, records))
        votes = torch.zeros(block.stop - start, records, dtype=torch.int16)
        for values, present in directions:
            similarity = values[block] @ values.T  # (block, records)
            similarity.diagonal(offset=start).fill_(-torch.inf)  # a record is not its own neighbour
            if not present.all():
                similarity.masked_fill_(~present, -torch.inf)
            top = similarity.topk(nearest, dim=1)
            votes.scatter_add_(1, top.indices, (top.values.isfinite() & present[block, None]).to(votes.dtype))
        yield ((votes >= majority).nonzero() + torch.tensor([start, 0])).numpy()
