"""The order in which an epoch visits rows that lie in groups, when only some groups fit in memory.

Groups are shuffled and handed to lanes; each lane goes through the rows of its groups, shuffled within
each, and the lanes are asked in turn. Place p of the epoch is decided by the seed and the sizes alone, so
that any step can be gone back to. With a batch that k ranks divide, rank r (every k-th row from r on) sees
the groups of every k-th lane: what ranks read does not overlap.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from commlearn.seeds import numpy_generator

__all__ = ["Lanes", "lanes_of_epoch"]


@dataclass(frozen=True)
class Lanes:
    """Which rows come one after the other.

    Example:
        >>> lanes = lanes_of_epoch(0, 0, [3, 2, 4], 2)
        >>> sorted(lanes.rows(np.arange(9)).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """

    seed: int
    epoch: int
    first: np.ndarray  # (groups,): the first row of each group
    sizes: np.ndarray  # (groups,)
    groups: tuple[np.ndarray, ...]  # of each lane, in its order
    starts: tuple[np.ndarray, ...]  # of each lane: the round at which each of its groups begins
    ends: np.ndarray  # (lanes,): the round at which each is at its end

    def rows(self, places: np.ndarray) -> np.ndarray:
        """The rows at these places of the epoch."""
        group, since = self._at(places)
        rows = np.empty(len(places), dtype=np.int64)
        for number in np.unique(group).tolist():
            order = _order_within(self.seed, self.epoch, number, int(self.sizes[number]))
            rows[group == number] = self.first[number] + order[since[group == number]]
        return rows

    def groups_at(self, places: np.ndarray) -> list[int]:
        """The groups in which the rows at these places lie."""
        return np.unique(self._at(places)[0]).tolist()

    def _at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The group of each place, and how many of its rows were visited before."""
        lane, turn = self._turns(places)
        group, since = np.empty_like(lane), np.empty_like(lane)
        for number in np.unique(lane):
            here = lane == number
            position = np.searchsorted(self.starts[number], turn[here], side="right") - 1
            group[here] = self.groups[number][position]
            since[here] = turn[here] - self.starts[number][position]
        return group, since

    def _turns(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lane that is asked at each place, and how often it was asked before."""
        by_end = np.argsort(self.ends, kind="stable")
        ends = self.ends[by_end]
        asked = np.minimum.outer(ends, self.ends).sum(axis=1)  # places until the j-th lane ended
        over = np.searchsorted(asked, places, side="right")  # how many lanes have ended
        lane, turn = np.empty(len(places), np.int64), np.empty(len(places), np.int64)
        for count in np.unique(over):
            here = over == count
            left = np.sort(by_end[count:])  # lanes that still have rows
            since = (asked[count - 1], ends[count - 1]) if count else (0, 0)
            round_, place = np.divmod(places[here] - since[0], len(left))
            lane[here], turn[here] = left[place], since[1] + round_
        return lane, turn


def lanes_of_epoch(seed: int, epoch: int, sizes: Sequence[int], lanes: int) -> Lanes:
    """Hand shuffled groups to lanes, each to the one that is through first.

    Args:
        seed: of the run.
        epoch: every epoch has another order.
        sizes: rows of each group.
        lanes: how many groups are open at a time.
    """
    numbers = np.asarray(sizes, dtype=np.int64)
    shuffled = numpy_generator(seed, "order", epoch).permutation(len(numbers))
    waiting = [(0, lane) for lane in range(lanes)]
    groups: list[list[int]] = [[] for _ in range(lanes)]
    starts: list[list[int]] = [[] for _ in range(lanes)]
    for group in shuffled[numbers[shuffled] > 0].tolist():
        turn, lane = heapq.heappop(waiting)
        groups[lane].append(group)
        starts[lane].append(turn)
        heapq.heappush(waiting, (turn + int(numbers[group]), lane))
    ends = np.zeros(lanes, dtype=np.int64)
    for turn, lane in waiting:
        ends[lane] = turn
    return Lanes(
        seed,
        epoch,
        first=np.cumsum(numbers) - numbers,
        sizes=numbers,
        groups=tuple(np.array(found, dtype=np.int64) for found in groups),
        starts=tuple(np.array(found, dtype=np.int64) for found in starts),
        ends=ends,
    )


@lru_cache(maxsize=64)
def _order_within(seed: int, epoch: int, group: int, size: int) -> np.ndarray:
    return numpy_generator(seed, "order", epoch, group).permutation(size).astype(np.int32)
