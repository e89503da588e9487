"""Records that are read while they are trained on: groups of rows come when they are needed, and go.

A reading thread is ahead by one batch and more, so that a step seldom waits. Whatever was read when, a
batch is the same: threads decide when a group is there, and never which.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.data.batch import Modality, View
from commlearn.data.records import Records, Spec, positions
from commlearn.data.visits import Lanes, lanes_of_epoch

__all__ = ["Groups", "StreamedColumn", "StreamedRecords", "joined"]

AHEAD = 4  # batches that reading is ahead


class Groups:
    """Groups of rows that are read when they are first needed, and forgotten when others are.

    Args:
        read: gives the records of a group.
        sizes: records of each group.
        lanes: groups that are visited at a time; as many again are read ahead.
    """

    def __init__(self, read: Callable[[int], Records], sizes: Sequence[int], lanes: int) -> None:
        self.read, self.lanes = read, lanes
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.ends = self.sizes.cumsum()
        self._kept: OrderedDict[int, Future[Records]] = OrderedDict()
        self._readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="commlearn-reads")

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def expect(self, groups: Sequence[int]) -> None:
        """Begin to read these groups, if it was not begun."""
        for group in groups:
            self._begin(group)

    def view(
        self, rows: np.ndarray, names: Sequence[str], generator: np.random.Generator | None = None
    ) -> View:
        """Modalities of rows of any groups, in the order of `rows`."""
        group = self._group(rows)
        place = rows - (self.ends - self.sizes)[group]
        chosen = [(number, np.flatnonzero(group == number)) for number in np.unique(group).tolist()]
        for number, _ in chosen:
            self._begin(number)
        parts = [self._kept[number].result().view(place[here], names, generator) for number, here in chosen]
        self._forget(len(chosen))
        order = torch.from_numpy(np.argsort(np.concatenate([here for _, here in chosen])))
        return {name: joined([part[name] for part in parts], order) for name in names}

    def _group(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.ends, rows, side="right")

    def _begin(self, group: int) -> None:
        if group not in self._kept:
            self._kept[group] = self._readers.submit(self.read, group)
        self._kept.move_to_end(group)

    def _forget(self, needed: int) -> None:
        """The groups that were needed last stay."""
        while len(self._kept) > max(2 * self.lanes, needed):
            self._kept.popitem(last=False)


@dataclass(frozen=True)
class StreamedColumn:
    """One modality of streamed records."""

    groups: Groups
    name: str
    spec: Spec

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, rows: np.ndarray) -> Modality:
        return self.groups.view(rows, [self.name])[self.name]


@dataclass(frozen=True)
class StreamedRecords(Records):
    """Records of groups that are read on the way, and a sample of them in memory."""

    row_groups: Groups = field(kw_only=True)
    known: Records = field(kw_only=True)  # some of them, for those who look at a few

    def view(
        self,
        rows: np.ndarray | slice,
        names: Sequence[str] | None = None,
        generator: np.random.Generator | None = None,
    ) -> View:
        index, wanted = positions(rows, len(self)), list(names or self.columns)
        streamed = self._streamed(wanted)
        read = self.row_groups.view(index, streamed, generator) if streamed and len(index) else {}
        rest = [name for name in wanted if name not in read]
        found = read | (super().view(index, rest, generator) if rest else {})
        return {name: found[name] for name in wanted}

    def visit(self, seed: int, epoch: int, places: slice) -> np.ndarray:
        lanes = self._lanes(seed, epoch)
        now = np.arange(*places.indices(len(self)))
        if self._streamed(list(self.columns)):
            soon = now + AHEAD * len(now) * (places.step or 1)
            self.row_groups.expect(lanes.groups_at(soon[soon < len(self)]))
            self.row_groups.expect(lanes.groups_at(now))
        return lanes.rows(now)

    def sample(self, count: int, generator: np.random.Generator) -> Records:
        return self.known.sample(min(count, len(self.known)), generator)

    def _streamed(self, names: Sequence[str]) -> list[str]:
        """Those that were not put in another place, such as a frozen encoder's token states."""
        return [name for name in names if isinstance(self.columns[name], StreamedColumn)]

    def _lanes(self, seed: int, epoch: int) -> Lanes:
        key = (seed, epoch)
        if key not in self._plans:
            self._plans.clear()
            self._plans[key] = lanes_of_epoch(
                seed, epoch, self.row_groups.sizes.tolist(), self.row_groups.lanes
            )
        return self._plans[key]

    @cached_property
    def _plans(self) -> dict[tuple[int, int], Lanes]:
        return {}


def joined(parts: Sequence[Modality], order: Tensor) -> Modality:
    """One modality from several, as long as the longest, its records in `order`.

    Example:
        >>> short, long = Modality(torch.ones(1, 2)), Modality(torch.ones(1, 3))
        >>> joined([short, long], torch.tensor([1, 0])).padding.tolist()
        [[False, False, False], [False, False, True]]
    """
    length = max((part.values.shape[1] for part in parts), default=0)
    padded = any(part.padding is not None or part.values.shape[1] != length for part in parts)
    present = None
    if any(part.present is not None for part in parts):
        there = [torch.ones(len(p), dtype=torch.bool) if p.present is None else p.present for p in parts]
        present = torch.cat(there)[order]
    values = torch.cat([_lengthened(part.values, length, 0) for part in parts])[order]
    padding = torch.cat([_padding(part, length) for part in parts])[order] if padded else None
    return Modality(values, padding, present)


def _padding(part: Modality, length: int) -> Tensor:
    known = part.padding
    if known is None:
        known = torch.zeros(part.values.shape[:2], dtype=torch.bool)
    return _lengthened(known, length, True)


def _lengthened(values: Tensor, length: int, fill: float | bool) -> Tensor:
    """More steps at the end of the second axis."""
    missing = length - values.shape[1]
    return F.pad(values, [0, 0] * (values.ndim - 2) + [0, missing], value=fill) if missing else values
