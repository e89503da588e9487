"""All readers by name, and the contract that the data set of each of them has to satisfy.

Example:
    >>> READERS["mosi"].__name__, "table" in READERS
    ('Mosi', True)
"""

from __future__ import annotations

import pkgutil
from collections import UserDict
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from commlearn.batch import Modality
from commlearn.errors import DataError, Problems
from commlearn.records import Dataset, Records


class Readers(UserDict[str, Any]):
    """Names of data sets and the classes that read them, which are imported on first use.

    Readers that need a kind of modality, such as text, belong to a layer above this one, so this layer
    refers to them by name only.
    """

    def __getitem__(self, name: str) -> type[Any]:
        entry = self.data[name]
        return pkgutil.resolve_name(entry) if isinstance(entry, str) else entry

    def add(self, name: str, reader: type[Any]) -> None:
        """Add your own reader under a name, for this process."""
        self[name] = reader


READERS = Readers(
    {
        "hateful_memes": "commlearn.datasets.image_text:HatefulMemes",
        "mimic": "commlearn.datasets.mimic:Mimic",
        "mm_imdb": "commlearn.datasets.image_text:MMIMDb",
        "mosei": "commlearn.datasets.utterances:Mosei",
        "mosi": "commlearn.datasets.utterances:Mosi",
        "mustard": "commlearn.datasets.utterances:Mustard",
        "table": "commlearn.tables.dataset:TableData",
        "trifeature": "commlearn.datasets.trifeature:Trifeature",
        "trifeature_three": "commlearn.datasets.trifeature:TrifeatureThree",
        "ur_funny": "commlearn.datasets.utterances:UrFunny",
        "vision_touch": "commlearn.datasets.vision_touch:VisionTouch",
    }
)
"""Published data sets, Trifeature and tables; a reader is imported on first use."""


LOOKED_AT = 64  # records of each part that are checked


def check_reader(reader: Any) -> Dataset:
    """Read a data set and check it; all problems are reported at once.

    Args:
        reader: a reader, which has a method `read()`, or a Dataset.

    Returns:
        The data set.

    Example:
        >>> from commlearn.datasets.trifeature import Trifeature
        >>> len(check_reader(Trifeature(size=24, train_pairs=20)).train)
        20
    """
    data = reader.read() if hasattr(reader, "read") else reader
    if not isinstance(data, Dataset):
        raise DataError(
            f"A reader must return a Dataset; {type(reader).__name__} returned a {type(data).__name__}."
        )
    problems = Problems(f"The data set of {type(reader).__name__}")
    for part, records in data.parts.items():
        if len(records) or part != "test":
            _check_part(part, records, data, problems)
    _check_disjoint(data, problems)
    problems.raise_if_any(DataError)
    return data


def _check_part(part: str, records: Records, data: Dataset, problems: Problems) -> None:
    if not len(records):
        problems.add(f"{part} has no records; leave the part out")
        return
    train = data.train
    if list(records.columns) != list(train.columns):
        problems.add(
            f"{part} has the modalities {list(records.columns)}, but train has {list(train.columns)}"
        )
        return
    if set(records.targets) != set(train.targets):
        problems.add(
            f"{part} has the targets {sorted(records.targets)}, but train has {sorted(train.targets)}"
        )
    rows = np.linspace(0, len(records) - 1, min(LOOKED_AT, len(records))).astype(np.int64)
    for name, column in records.columns.items():
        location = f"{part}, {name}"
        if column.spec != (expected := train.columns[name].spec):
            problems.add(f"{location} is {tuple(column.spec)}, but in train {tuple(expected)}")
        modality = column.take(rows)
        for problem in _wrong_values(modality, column.spec.kind, column.spec.shape, len(rows)):
            problems.add(f"{location}: {problem}")
        if not _equal(modality, column.take(rows)):
            problems.add(f"{location}: reading the same records twice gives different values")
        if not _equal(modality.apply(lambda values: values.flip(0)), column.take(rows[::-1].copy())):
            problems.add(f"{location}: records are not returned in the requested order")


def _wrong_values(modality: Modality, kind: str, shape: tuple[int, ...], count: int) -> list[str]:
    values, problems = modality.values, []
    if len(values) != count:
        return [f"{len(values)} records were returned for {count} rows"]
    expected = {"image": 3, "text": 1, "tabular": 1, "vector": 1, "series": 2, "audio": 2}.get(kind)
    if expected is not None and values.ndim != expected + 1:
        problems.append(f"a {kind} has {expected} axes, but values have shape {tuple(values.shape[1:])}")
    if kind in ("image", "vector") and tuple(values.shape[1:]) != shape:
        problems.append(f"values have shape {tuple(values.shape[1:])}, but the spec says {shape}")
    if kind in ("series", "audio") and values.shape[-1] != shape[0]:
        problems.append(f"values have {values.shape[-1]} channels, but the spec says {shape[0]}")
    if values.is_floating_point() and kind != "tabular" and not values.isfinite().all():
        problems.append("values are not finite")
    if modality.padding is not None:
        if modality.padding.shape != values.shape[:2] or modality.padding.dtype != torch.bool:
            problems.append(
                f"padding has shape {tuple(modality.padding.shape)} and type {modality.padding.dtype}"
            )
        elif (modality.padding[:, :-1] & ~modality.padding[:, 1:]).any():
            problems.append("padding precedes a step; it must be at the end")
        elif modality.present is None and modality.padding.all(dim=1).any():
            problems.append("a record is all padding, but not marked absent")
    if modality.present is not None and modality.present.shape != (count,):
        problems.append(f"present has shape {tuple(modality.present.shape)}")
    return problems


def _check_disjoint(data: Dataset, problems: Problems) -> None:
    """Check that the parts share no records; a few identical records are tolerated."""
    digests = {part: _digests(records) for part, records in data.parts.items() if len(records)}
    pairs = ("train", "test"), ("train", "validation"), ("validation", "test"), ("probe", "test")
    for first, second in pairs:
        smaller, larger = sorted((digests.get(first, set()), digests.get(second, set())), key=len)
        shared = len(smaller & larger)
        if shared > max(1, len(smaller) // 4):
            problems.add(
                f"{shared} of the {len(smaller)} records checked are both in {first} and in {second}"
            )


def _digests(records: Records) -> set[bytes]:
    """Return what identifies the first records: digests of their modalities without padding."""
    digests, count = set(), min(len(records), 1024)
    for start in range(0, count, LOOKED_AT):
        rows = np.arange(start, min(start + LOOKED_AT, count))
        modalities = list(records.view(rows).values())
        for row in range(len(rows)):
            digest = blake2b()
            for modality in modalities:
                values = modality.values[row]
                if modality.padding is not None:
                    values = values[~modality.padding[row]]
                digest.update(values.contiguous().numpy().tobytes() + b"|")
            digests.add(digest.digest())
    return digests


def _equal(first: Modality, second: Modality) -> bool:
    pairs = [(first.values, second.values), (first.padding, second.padding), (first.present, second.present)]
    return all(
        left is right
        if left is None or right is None
        else torch.equal(left.nan_to_num(), right.nan_to_num())  # False if shapes differ
        for left, right in pairs
    )
