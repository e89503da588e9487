"""Records that may stand in for one another: most of their modalities call each other neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binom

from commlearn.batch import View
from commlearn.models.features.fixed import FeatureColumn

SHARE = 0.5  # of the augmented versions that are made from a stand-in, where a record has one
NEAREST = (3, 15)  # neighbours of a record in each modality: half the root of the records, within these
ABOVE_CHANCE = 2.0  # times as many as modalities that share nothing would agree on
BLOCK = 512  # records compared with all others at a time


@dataclass(frozen=True)
class StandIns:
    """For each record, those that an augmented version of it may be made from.

    Neighbours in one modality alone may have nothing else in common. Those that most modalities agree on
    are alike in what the modalities share, and where modalities share nothing, hardly any agree.
    """

    places: np.ndarray  # (records, most) int64: the stand-ins of each record, then -1
    count: np.ndarray  # (records,): how many there are
    columns: Mapping[str, FeatureColumn]

    def view(self, rows: np.ndarray, generator: np.random.Generator) -> View:
        """These records, or for about half of those that have one, a stand-in.

        A modality that only one of both has stays the record's own.
        """
        chosen = self.places[rows, (generator.random(len(rows)) * self.count[rows]).astype(np.int64)]
        replaced = (generator.random(len(rows)) < SHARE) & (self.count[rows] > 0)
        chosen = np.where(replaced, chosen, rows)
        view: View = {}
        for name, column in self.columns.items():
            here, there = column.there(rows), column.there(chosen)
            view[name] = column.take(np.where(here == there, chosen, rows))
        return view


def stand_ins(columns: Mapping[str, FeatureColumn]) -> StandIns | None:
    """The stand-ins of each record; None with one modality, or if modalities hardly agree on any.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
        >>> rows = np.concatenate([rows, rows + 0.01])  # every record twice
        >>> column = FeatureColumn(rows, None, np.arange(80))
        >>> alike = stand_ins({"a": column, "b": column})
        >>> 40 in alike.places[0]
        True
    """
    records = len(next(iter(columns.values())))
    if len(columns) < 2 or records < 2:
        return None
    nearest = min(int(np.clip(0.5 * records**0.5, *NEAREST)), records - 1)
    rows, others = np.concatenate(list(_agreed(columns, nearest))).T
    count = np.bincount(rows, minlength=records)
    by_chance = records * binom.sf(len(columns) // 2, len(columns), nearest / records)
    if count.mean() < ABOVE_CHANCE * by_chance:
        return None
    table = np.full((records, count.max()), -1, dtype=np.int64)
    table[rows, np.arange(len(rows)) - np.repeat(count.cumsum() - count, count)] = others
    return StandIns(table, count, columns)


def _agreed(columns: Mapping[str, FeatureColumn], nearest: int) -> Iterator[np.ndarray]:
    """Pairs of a record, in order, and one that more than half of its modalities have among the nearest."""
    records = len(next(iter(columns.values())))
    needed = len(columns) // 2 + 1
    directions = [
        (F.normalize(torch.from_numpy(column.values), dim=1)[torch.from_numpy(column.index)], there)
        for column in columns.values()
        for there in [torch.from_numpy(column.there(np.arange(records)))]
    ]
    for start in range(0, records, BLOCK):
        some = slice(start, min(start + BLOCK, records))
        votes = torch.zeros(some.stop - start, records, dtype=torch.int16)
        for values, there in directions:
            alike = values[some] @ values.T  # (block, records)
            alike.diagonal(offset=start).fill_(-torch.inf)  # a record is no neighbour of its own
            if not there.all():
                alike.masked_fill_(~there, -torch.inf)
            top = alike.topk(nearest, dim=1)
            votes.scatter_add_(1, top.indices, (top.values.isfinite() & there[some, None]).to(votes.dtype))
        yield ((votes >= needed).nonzero() + torch.tensor([start, 0])).numpy()
