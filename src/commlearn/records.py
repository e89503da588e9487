"""Records in memory: named columns that return modalities by row, and the records' targets."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from commlearn.batch import Modality, Spec, View
from commlearn.errors import DataError
from commlearn.seeds import numpy_generator


class Column(Protocol):
    """One modality of many records."""

    @property
    def spec(self) -> Spec:
        """Kind and shape."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Modality:
        """Return the modality of these records, in this order."""


@dataclass(frozen=True)
class ImageColumn:
    """Images kept as uint8 in memory; several records may show the same image."""

    images: np.ndarray  # (images, height, width, channels) uint8
    index: np.ndarray  # (records,): which image each record shows

    @property
    def spec(self) -> Spec:
        height, width, channels = self.images.shape[1:]
        return Spec("image", (channels, height, width))

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray) -> Modality:
        return Modality(torch.from_numpy(self.images[self.index[rows]]).permute(0, 3, 1, 2))


@dataclass(frozen=True)
class VectorColumn:
    """Vectors of one size in memory."""

    values: np.ndarray  # (records, features) float32
    kind: str = "vector"

    @property
    def spec(self) -> Spec:
        return Spec(self.kind, self.values.shape[1:])

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Modality:
        return Modality(torch.from_numpy(np.ascontiguousarray(self.values[rows], dtype=np.float32)))


@dataclass(frozen=True)
class Chosen:
    """Some rows of a column, which is not copied."""

    column: Column
    rows: np.ndarray  # (records,): position of each in the column

    @property
    def spec(self) -> Spec:
        return self.column.spec

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> Modality:
        return self.column.take(self.rows[rows])


def image_numbers(column: Column) -> np.ndarray | None:
    """Return the number of the image that each record shows, if records may share images; otherwise None."""
    if isinstance(column, ImageColumn):
        return column.index
    if isinstance(column, Chosen) and not isinstance(column, Drawn):
        numbers = image_numbers(column.column)
        return None if numbers is None else numbers[column.rows]
    return None


@dataclass(frozen=True)
class Drawn(Chosen):
    """Records with several versions of one modality, such as several plots of a film.

    A probe sees the first version, at the record's position in the column; training draws one each time.
    """

    count: np.ndarray  # (records,): number of versions of each record, all adjacent in the column

    def draw(self, rows: np.ndarray, generator: np.random.Generator) -> Modality:
        return self.column.take(self.rows[rows] + generator.integers(self.count[rows]))

    def changed(self, change: Callable[[Column], Column]) -> Drawn:
        """Return the same records and versions, with a change made to the column of all versions."""
        versions = [np.arange(row, row + count) for row, count in zip(self.rows, self.count, strict=True)]
        column = change(Chosen(self.column, np.concatenate(versions)))
        return Drawn(column, self.count.cumsum() - self.count, self.count)


@dataclass(frozen=True)
class Records:
    """Rows of several modalities, with their targets."""

    columns: dict[str, Column]
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    keys: np.ndarray | None = None  # (records,) uint64: identifies a record in whatever table it appears
    groups: np.ndarray | None = None  # (records,) uint64: which records belong together, such as a patient's
    units: np.ndarray | None = None  # (records,) or (records, sides) uint64: what several records share
    sorts: Mapping[str, str] = field(default_factory=dict)  # by target: class, number or multilabel

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        lengths |= {name: len(values) for name, values in self.targets.items()}
        named = {"keys": self.keys, "groups": self.groups, "units": self.units}
        lengths |= {name: len(values) for name, values in named.items() if values is not None}
        if len(set(lengths.values())) > 1:
            sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(f"All columns of a table need the same number of rows; got {sizes}.")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def specs(self) -> dict[str, Spec]:
        return {name: column.spec for name, column in self.columns.items()}

    def view(
        self,
        rows: np.ndarray | slice,
        names: Sequence[str] | None = None,
        generator: np.random.Generator | None = None,
    ) -> View:
        """Return the named modalities of these rows.

        Args:
            rows: which records.
            names: which modalities; all if not given.
            generator: draws one version of a modality that has several; if not given, the first is taken.
        """
        index = positions(rows, len(self))
        if generator is None:
            return {name: self.columns[name].take(index) for name in names or self.columns}
        return {name: _draw(self.columns[name], index, generator) for name in names or self.columns}

    def choose(self, rows: np.ndarray) -> Records:
        """Return the records at these positions; their columns are not copied."""
        columns: dict[str, Column] = {name: Chosen(column, rows) for name, column in self.columns.items()}
        return Records(
            columns,
            {name: values[rows] for name, values in self.targets.items()},
            None if self.keys is None else self.keys[rows],
            None if self.groups is None else self.groups[rows],
            None if self.units is None else self.units[rows],
            self.sorts,
        )

    @property
    def resampled(self) -> np.ndarray | None:
        """What intervals resample in place of records: groups, or shared units such as the images of pairs.

        Unlike records of one group, records that share a unit can be each other's negatives in training.
        """
        return self.groups if self.groups is not None else self.units

    @property
    def held_together(self) -> np.ndarray | None:
        """What folds may not divide, (records,); None for pairs, which cannot be split by both sides."""
        units = self.resampled
        return None if units is None or units.ndim > 1 else units

    def visit(self, seed: int, epoch: int, places: slice) -> np.ndarray:
        """Return the records at these places of the order in which an epoch visits them."""
        return _epoch_order(seed, epoch, len(self))[places]

    def sample(self, count: int, generator: np.random.Generator) -> Records:
        """Draw some of the records, and return them in their order."""
        return self.choose(np.sort(generator.choice(len(self), count, replace=False)))

    def labels(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Return class numbers of these rows for every target of classes, below 0 if a record has none."""
        return {name: torch.as_tensor(codes[rows]) for name, codes in self.classes.items()}

    def group_numbers(self, rows: np.ndarray) -> torch.Tensor | None:
        """Return the number of each row's group; None if the records have no groups."""
        return None if self.groups is None else torch.from_numpy(self.groups[rows].view(np.int64))

    @cached_property
    def classes(self) -> dict[str, np.ndarray]:
        """The targets of classes, as `class_codes` numbers them."""
        numbered = {
            name: class_codes(values, self.sorts.get(name, "")) for name, values in self.targets.items()
        }
        return {name: codes for name, codes in numbered.items() if codes is not None}


def presence(column: Column, rows: np.ndarray | None = None) -> np.ndarray:
    """Return which of these records, or of all, have the modality, (records,) bool; usually reads nothing."""
    rows = np.arange(len(column)) if rows is None else rows
    if isinstance(column, Chosen):
        return presence(column.column, column.rows[rows])
    if hasattr(column, "present"):
        return np.ones(len(rows), dtype=bool) if column.present is None else np.asarray(column.present)[rows]
    parts = [column.take(rows[start : start + 256]).presence.numpy() for start in range(0, len(rows), 256)]
    return np.concatenate([np.ones(0, dtype=bool), *parts])


def positions(rows: np.ndarray | slice, count: int) -> np.ndarray:
    """Return the positions that `rows` selects among `count` records.

    Example:
        >>> positions(slice(2, None), 5).tolist(), positions(np.array([True, False]), 2).tolist()
        ([2, 3, 4], [0])
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, records: int) -> np.ndarray:
    return numpy_generator(seed, "order", epoch).permutation(records)


def _draw(column: Column, rows: np.ndarray, generator: np.random.Generator) -> Modality:
    """Draw one version of a modality that has several."""
    if isinstance(column, Drawn):
        return column.draw(rows, generator)
    if isinstance(column, Chosen):
        return _draw(column.column, column.rows[rows], generator)
    return column.take(rows)


def class_codes(values: np.ndarray, sort: str = "") -> np.ndarray | None:
    """Return classes as whole numbers from 0, -1 for no class; None if the values are not classes.

    Args:
        values: one for each record.
        sort: sort of the target in a schema; fractions are classes only if it says so and they repeat.

    Example:
        >>> class_codes(np.array(["cat", None, "dog", "cat"], dtype=object)).tolist()
        [0, -1, 1, 0]
        >>> class_codes(np.array([0.25, 0.5])) is None
        True
    """
    if values.ndim != 1 or sort == "number":
        return None
    if values.dtype.kind == "f":
        labelled = np.isfinite(values)
        observed = values[labelled]
        repeated = 2 * len(np.unique(observed)) <= len(observed)  # measurements seldom repeat
        if not ((sort and repeated) or np.array_equal(observed, np.round(observed))):
            return None
    elif values.dtype.kind == "O":
        labelled = np.array([value is not None for value in values], dtype=bool)
        if any(isinstance(value, tuple | list | np.ndarray) for value in values[labelled]):
            return None
        values = np.array([str(value) for value in values], dtype=object)
    else:
        labelled = np.ones(len(values), dtype=bool)
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[labelled] = np.unique(values[labelled], return_inverse=True)[1]
    return codes


@dataclass(frozen=True)
class Dataset:
    """What a reader returns: the records to train on, to fit probes on and to score them on."""

    train: Records
    test: Records
    validation: Records | None = None  # never the test part
    probe: Records | None = None  # records that probes are fitted on, if not `train`
    schema: Mapping[str, Any] | None = None  # schema of the table as plain values, if read from a table
    state: Mapping[str, Any] | None = None  # what each modality learned on `train`, as plain values
    notes: tuple[str, ...] = ()  # what was left out or corrected, to be shown to the user
    unreadable: Sequence[Mapping[str, Any]] = ()  # cells that count as missing; for streams, those so far
    files: Mapping[str, str] | None = None  # size and digest of each file of the table, if it has files
    unused: Mapping[str, str] | None = None  # columns that are not read, each with the reason, if known
    signs: tuple[str, ...] = ()  # that the rows may be a series over time that was divided at random

    def __post_init__(self) -> None:
        """Give records without keys a key from part and position; an object used as two parts stays one."""
        named: dict[int, Records] = {}
        for name, records in self.parts.items():
            if records.keys is None and records.columns:
                part = np.uint64(zlib.crc32(name.encode()) << 32)
                keys = pd.util.hash_array(np.arange(len(records))) ^ part
                object.__setattr__(self, name, named.setdefault(id(records), replace(records, keys=keys)))

    @property
    def parts(self) -> dict[str, Records]:
        """The parts that exist, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test, "probe": self.probe}
        return {name: records for name, records in named.items() if records is not None}

    @property
    def fit(self) -> Records:
        return self.probe if self.probe is not None else self.train


@dataclass(frozen=True)
class Sequences:
    """Series stored end to end in memory, and padded at the end to the longest of a batch when taken."""

    kind: str
    steps: np.ndarray  # (all steps + 1, channels) float32; the last is zero and serves as padding
    starts: np.ndarray  # (records + 1,): record i has steps[starts[i]:starts[i + 1]]; no steps: absent

    @classmethod
    def of(cls, kind: str, arrays: Sequence[np.ndarray | None], channels: int) -> Sequences:
        """Build from each record's series, (length, channels), or None if it has none."""
        present = [array for array in arrays if array is not None]
        steps = np.concatenate([*present, np.zeros((1, channels), dtype=np.float32)])
        lengths = [0 if array is None else len(array) for array in arrays]
        return cls(kind, steps, np.cumsum([0, *lengths]))

    @classmethod
    def cut(cls, kind: str, values: np.ndarray, steps_to_keep: np.ndarray) -> Sequences:
        """Build from (records, length, channels), with the steps that the mask (records, length) marks."""
        end = np.zeros((1, values.shape[2]), dtype=np.float32)
        steps = np.concatenate([values[steps_to_keep], end], dtype=np.float32)
        return cls(kind, steps, np.cumsum([0, *steps_to_keep.sum(axis=1)]))

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
        steps = np.arange(longest)
        padding = steps >= lengths[:, None]  # (batch, length)
        index = np.where(padding, -1, self.starts[rows][:, None] + steps)
        return Modality(
            torch.from_numpy(self.steps[index]),  # (batch, length, channels)
            torch.from_numpy(padding) if self.padded else None,
            None if self.present is None else torch.from_numpy(self.present[rows]),
        )
