"""Records that are read during training: groups of rows are loaded when they are needed.

Groups are shuffled and assigned to lanes. Each lane goes through the rows of its groups, shuffled within
each group, and the lanes take turns. The row at place p of an epoch depends only on the seed, the epoch, the
group sizes and the number of lanes, so training can resume at any step. If k ranks divide a batch, rank r
(every k-th row from r on) sees the groups of every k-th lane, so what ranks read does not overlap.

Groups are read ahead in threads, so that a step seldom waits. Threads affect only when a group arrives, never
which rows a batch holds.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
import torch

from commlearn.batch import Modality, Spec, View, joined
from commlearn.records import Column, Records, positions
from commlearn.seeds import numpy_generator

AHEAD = 4  # batches to read ahead


class Lanes:
    """The order in which an epoch visits the rows of its groups: each goes to the lane that finishes first.

    Args:
        seed: seed of the run.
        epoch: number of the epoch; each has a different order.
        sizes: number of rows of each group.
        lanes: number of groups that are open at a time.

    Example:
        >>> lanes = Lanes(0, 0, [3, 2, 4], 2)
        >>> sorted(lanes.rows(np.arange(9)).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """

    def __init__(self, seed: int, epoch: int, sizes: Sequence[int] | np.ndarray, lanes: int) -> None:
        self.seed, self.epoch = seed, epoch
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.first = np.cumsum(self.sizes) - self.sizes  # the first row of each group
        shuffled = numpy_generator(seed, "order", epoch).permutation(len(self.sizes))
        waiting = [(0, lane) for lane in range(lanes)]
        groups: list[list[int]] = [[] for _ in range(lanes)]
        starts: list[list[int]] = [[] for _ in range(lanes)]
        for group in shuffled[self.sizes[shuffled] > 0].tolist():
            turn, lane = heapq.heappop(waiting)
            groups[lane].append(group)
            starts[lane].append(turn)
            heapq.heappush(waiting, (turn + int(self.sizes[group]), lane))
        self.groups = [np.array(lane, dtype=np.int64) for lane in groups]  # groups of each lane, in order
        self.starts = [np.array(lane, dtype=np.int64) for lane in starts]  # the round in which each begins
        self.ends = np.zeros(lanes, dtype=np.int64)  # the round after which each lane has no rows left
        for turn, lane in waiting:
            self.ends[lane] = turn

    def rows(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at these places of the epoch."""
        group, offset = self._locate(places)
        rows = np.empty(len(places), dtype=np.int64)
        for number in np.unique(group).tolist():
            order = _order_within(self.seed, self.epoch, number, int(self.sizes[number]))
            rows[group == number] = self.first[number] + order[offset[group == number]]
        return rows

    def groups_at(self, places: np.ndarray) -> list[int]:
        """Return the groups that contain the rows at these places."""
        return np.unique(self._locate(places)[0]).tolist()

    def _locate(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the group at each place, and how many of its rows were visited before."""
        lane, turn = self._turns(places)
        group, offset = np.empty_like(lane), np.empty_like(lane)
        for number in np.unique(lane):
            mask = lane == number
            position = np.searchsorted(self.starts[number], turn[mask], side="right") - 1
            group[mask] = self.groups[number][position]
            offset[mask] = turn[mask] - self.starts[number][position]
        return group, offset

    def _turns(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lane whose turn it is at each place, and how many turns it had before."""
        by_end = np.argsort(self.ends, kind="stable")
        ends = self.ends[by_end]
        thresholds = np.minimum.outer(ends, self.ends).sum(axis=1)  # places until j + 1 lanes have ended
        ended = np.searchsorted(thresholds, places, side="right")  # how many lanes have ended
        lane, turn = np.empty(len(places), np.int64), np.empty(len(places), np.int64)
        for count in np.unique(ended):
            mask = ended == count
            remaining = np.sort(by_end[count:])  # lanes that still have rows
            start = (thresholds[count - 1], ends[count - 1]) if count else (0, 0)
            round_, index = np.divmod(places[mask] - start[0], len(remaining))
            lane[mask], turn[mask] = remaining[index], start[1] + round_
        return lane, turn


@lru_cache(maxsize=64)
def _order_within(seed: int, epoch: int, group: int, size: int) -> np.ndarray:
    return numpy_generator(seed, "order", epoch, group).permutation(size).astype(np.int32)


class Groups:
    """Groups of rows that are read when they are first needed, and dropped when others are needed.

    Args:
        read: returns the records of a group.
        sizes: number of records of each group.
        lanes: number of groups that are open at a time; as many again are read ahead.
    """

    def __init__(self, read: Callable[[int], Records], sizes: Sequence[int] | np.ndarray, lanes: int) -> None:
        self.read, self.lanes = read, lanes
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.ends = self.sizes.cumsum()
        self._groups: OrderedDict[int, Future[Records]] = OrderedDict()
        self._readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="commlearn-reads")

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def expect(self, groups: Sequence[int]) -> None:
        """Start to read these groups, unless that has already started."""
        for group in groups:
            if group not in self._groups:
                self._groups[group] = self._readers.submit(self.read, group)
            self._groups.move_to_end(group)

    def view(
        self, rows: np.ndarray, names: Sequence[str], generator: np.random.Generator | None = None
    ) -> View:
        """Return the modalities of rows from any groups, in the order of `rows`."""
        group = np.searchsorted(self.ends, rows, side="right")
        offset = rows - (self.ends - self.sizes)[group]
        members = [(number, np.flatnonzero(group == number)) for number in np.unique(group).tolist()]
        self.expect([number for number, _ in members])
        parts = [
            self._groups[number].result().view(offset[indices], names, generator)
            for number, indices in members
        ]
        while len(self._groups) > max(2 * self.lanes, len(members)):  # drop what was not needed for longest
            self._groups.popitem(last=False)
        order = torch.from_numpy(np.argsort(np.concatenate([indices for _, indices in members])))
        whole = {name: joined([part[name] for part in parts]) for name in names}
        return {name: modality.apply(lambda tensor: tensor[order]) for name, modality in whole.items()}


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
    """Records whose groups are read during training, and a sample of them in memory."""

    row_groups: Groups = field(kw_only=True)
    sampled: Records = field(kw_only=True)  # some of the records, for callers that need only a few

    def view(
        self,
        rows: np.ndarray | slice,
        names: Sequence[str] | None = None,
        generator: np.random.Generator | None = None,
    ) -> View:
        index, requested = positions(rows, len(self)), list(names or self.columns)
        streamed = self._streamed(requested)
        loaded = self.row_groups.view(index, streamed, generator) if streamed and len(index) else {}
        rest = [name for name in requested if name not in loaded]
        combined = loaded | (super().view(index, rest, generator) if rest else {})
        return {name: combined[name] for name in requested}

    def changed(self, change: Callable[[Records], Records]) -> StreamedRecords:
        """Return the records with `change` applied to each group when it is read, and to the sample."""
        read, sampled = self.row_groups.read, change(self.sampled)
        groups = Groups(lambda group: change(read(group)), self.row_groups.sizes, self.row_groups.lanes)
        specs = sampled.specs
        columns: dict[str, Column] = {name: StreamedColumn(groups, name, specs[name]) for name in specs}
        return replace(self, columns=columns, row_groups=groups, sampled=sampled)

    def visit(self, seed: int, epoch: int, places: slice) -> np.ndarray:
        lanes = self._lanes(seed, epoch)
        current = np.arange(*places.indices(len(self)))
        if self._streamed(list(self.columns)):
            upcoming = current + AHEAD * len(current) * (places.step or 1)
            self.row_groups.expect(lanes.groups_at(upcoming[upcoming < len(self)]))
            self.row_groups.expect(lanes.groups_at(current))
        return lanes.rows(current)

    def sample(self, count: int, generator: np.random.Generator) -> Records:
        return self.sampled.sample(min(count, len(self.sampled)), generator)

    def _streamed(self, names: Sequence[str]) -> list[str]:
        """Return the modalities that were not replaced, for example by a frozen encoder's token states."""
        return [name for name in names if isinstance(self.columns[name], StreamedColumn)]

    def _lanes(self, seed: int, epoch: int) -> Lanes:
        if (seed, epoch) not in self._plans:
            self._plans.clear()
            self._plans[seed, epoch] = Lanes(seed, epoch, self.row_groups.sizes, self.row_groups.lanes)
        return self._plans[seed, epoch]

    @cached_property
    def _plans(self) -> dict[tuple[int, int], Lanes]:
        return {}
