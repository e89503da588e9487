"""Stand-ins: records that may replace one another because they are neighbours in most modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binom

from commlearn.batch import View
from commlearn.models.features.fixed import FeatureColumn

SHARE = 0.5  # probability that an augmented version is made from a stand-in, if the record has one
NEAREST = (3, 15)  # limits on the neighbours per modality: half the square root of the number of records
ABOVE_CHANCE = 2.0  # least ratio of stand-ins to those on which unrelated modalities would agree by chance
BLOCK = 512  # records compared with all others at a time


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
            own_mask, chosen_mask = column.presence(rows), column.presence(chosen)
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
        for present in [torch.from_numpy(column.presence(np.arange(records)))]
    ]
    for start in range(0, records, BLOCK):
        block = slice(start, min(start + BLOCK, records))
        votes = torch.zeros(block.stop - start, records, dtype=torch.int16)
        for values, present in directions:
            similarity = values[block] @ values.T  # (block, records)
            similarity.diagonal(offset=start).fill_(-torch.inf)  # a record is not its own neighbour
            if not present.all():
                similarity.masked_fill_(~present, -torch.inf)
            top = similarity.topk(nearest, dim=1)
            votes.scatter_add_(1, top.indices, (top.values.isfinite() & present[block, None]).to(votes.dtype))
        yield ((votes >= majority).nonzero() + torch.tensor([start, 0])).numpy()
