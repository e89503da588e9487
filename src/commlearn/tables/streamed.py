"""Records that are read during training: groups of rows are loaded when they are needed.

Groups are shuffled and assigned to lanes. Each lane goes through the rows of its groups, shuffled within
each group, and the lanes take turns. The order of an epoch depends only on the seed, the epoch, the group
sizes and the number of lanes, so training can resume at any step. If k ranks divide a batch, rank r
(every k-th row from r on) sees the groups of every k-th lane, so what ranks read does not overlap.

Groups are read ahead in threads, so that a step seldom waits. Threads affect only when a group arrives, never
which rows a batch holds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch

from commlearn.batch import Modality, Spec, joined
from commlearn.records import Records
from commlearn.seeds import numpy_generator

AHEAD = 4  # batches to read ahead


@lru_cache(maxsize=1)
def lane_order(seed: int, epoch: int, sizes: tuple[int, ...], lanes: int) -> np.ndarray:
    """Return all rows in the order in which an epoch visits them: each group goes to the shortest lane.

    Args:
        seed: seed of the run.
        epoch: number of the epoch; each has a different order.
        sizes: number of rows of each group.
        lanes: number of groups that are open at a time.

    Example:
        >>> sorted(lane_order(0, 0, (3, 2, 4), 2).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    first = np.cumsum(sizes) - sizes  # the first row of each group
    rows: list[list[np.ndarray]] = [[] for _ in range(lanes)]
    lengths = [0] * lanes
    for group in numpy_generator(seed, "order", epoch).permutation(len(sizes)).tolist():
        lane = lengths.index(min(lengths))
        order = numpy_generator(seed, "order", epoch, group).permutation(sizes[group])
        rows[lane].append(first[group] + order)
        lengths[lane] += sizes[group]
    lane_by_lane = np.concatenate([part for lane in rows for part in lane])
    turns = np.concatenate([np.arange(length) for length in lengths])
    return lane_by_lane[np.argsort(turns, kind="stable")]  # in each turn, the lanes in their order


class Groups:
    """Groups of rows that are read when they are first needed, and dropped when others are needed.

    Args:
        read: returns the records of a group.
        sizes: number of records of each group.
        lanes: number of groups that are open at a time; as many again are read ahead.
    """

    def __init__(self, read: Callable[[int], Records], sizes: Sequence[int], lanes: int) -> None:
        self.read, self.sizes, self.lanes = read, tuple(sizes), lanes
        self.ends = np.cumsum(sizes)
        self._groups: OrderedDict[int, Future[Records]] = OrderedDict()
        self._readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="commlearn-reads")

    def __len__(self) -> int:
        return int(self.ends[-1])

    def members(self, rows: np.ndarray) -> dict[int, np.ndarray]:
        """Return the groups that contain these rows, each with the positions in `rows` of its own."""
        group = np.searchsorted(self.ends, rows, side="right")
        return {number: np.flatnonzero(group == number) for number in np.unique(group).tolist()}

    def expect(self, groups: Iterable[int]) -> None:
        """Start to read these groups, unless that has already started."""
        for group in groups:
            if group not in self._groups:
                self._groups[group] = self._readers.submit(self.read, group)
            self._groups.move_to_end(group)

    def take(self, rows: np.ndarray, name: str) -> Modality:
        """Return one modality of rows from any groups, in the order of `rows`."""
        members = self.members(rows)
        self.expect(members)
        parts = []
        for group, indices in members.items():
            offset = rows[indices] - (self.ends[group] - self.sizes[group])
            parts.append(self._groups[group].result().columns[name].take(offset))
        while len(self._groups) > max(2 * self.lanes, len(members)):  # drop what was not needed for longest
            self._groups.popitem(last=False)
        order = torch.from_numpy(np.argsort(np.concatenate([*members.values()])))
        return joined(parts).apply(lambda tensor: tensor[order])


@dataclass(frozen=True)
class StreamedColumn:
    """One modality of streamed records."""

    groups: Groups
    name: str
    spec: Spec

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, rows: np.ndarray) -> Modality:
        return self.groups.take(rows, self.name)


@dataclass(frozen=True)
class StreamedRecords(Records):
    """Records whose groups are read during training, and a sample of them in memory."""

    row_groups: Groups = field(kw_only=True)
    sampled: Records = field(kw_only=True)  # some of the records, for callers that need only a few

    def visit(self, seed: int, epoch: int, places: slice) -> np.ndarray:
        groups = self.row_groups
        order = lane_order(seed, epoch, groups.sizes, groups.lanes)
        rows = order[places]
        # a frozen encoder's token states may have replaced every modality that is streamed
        if any(isinstance(column, StreamedColumn) for column in self.columns.values()):
            start, stop, step = places.indices(len(self))
            later = AHEAD * len(rows) * step
            groups.expect(groups.members(order[start + later : stop + later : step]))
            groups.expect(groups.members(rows))
        return rows

    def sample(self, count: int, generator: np.random.Generator) -> Records:
        return self.sampled.sample(min(count, len(self.sampled)), generator)
