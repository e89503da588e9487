"""Series of any length in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from commlearn.data.batch import Modality
from commlearn.data.records import Spec

__all__ = ["Sequences"]


@dataclass(frozen=True)
class Sequences:
    """Series end to end in memory; padded at the end to the longest of a batch when taken."""

    kind: str
    steps: np.ndarray  # (all steps + 1, channels) float32; the last is zero and serves as padding
    starts: np.ndarray  # (records + 1,): record i has steps[starts[i]:starts[i + 1]]; none = absent

    @classmethod
    def of(cls, kind: str, arrays: Sequence[np.ndarray | None], channels: int) -> Sequences:
        """From each record's (length, channels), None where it has none."""
        there = [array for array in arrays if array is not None]
        steps = np.concatenate([*there, np.zeros((1, channels), dtype=np.float32)])
        lengths = [0 if array is None else len(array) for array in arrays]
        return cls(kind, steps, np.cumsum([0, *lengths]))

    @classmethod
    def cut(cls, kind: str, values: np.ndarray, kept: np.ndarray) -> Sequences:
        """From (records, length, channels): the steps that `kept`, (records, length), marks."""
        end = np.zeros((1, values.shape[2]), dtype=np.float32)
        steps = np.concatenate([values[kept], end], dtype=np.float32)
        return cls(kind, steps, np.cumsum([0, *kept.sum(axis=1)]))

    @property
    def spec(self) -> Spec:
        return Spec(self.kind, self.steps.shape[1:])

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    @cached_property
    def present(self) -> np.ndarray | None:
        """(records,): False where a record has no series; None if all have one."""
        return None if (self.lengths > 0).all() else self.lengths > 0

    @cached_property
    def padded(self) -> bool:
        """Whether lengths differ, so that a batch needs padding."""
        return len(np.unique(self.lengths[self.lengths > 0])) > 1

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: np.ndarray) -> Modality:
        lengths = self.lengths[rows]
        longest = (lengths if self.padded else self.lengths).max(initial=1)
        place = np.arange(longest)
        padding = place >= lengths[:, None]  # (batch, length)
        index = np.where(padding, -1, self.starts[rows][:, None] + place)
        return Modality(
            torch.from_numpy(self.steps[index]),  # (batch, length, channels)
            torch.from_numpy(padding) if self.padded else None,
            None if self.present is None else torch.from_numpy(self.present[rows]),
        )
