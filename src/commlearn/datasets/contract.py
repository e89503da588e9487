"""The contract that every data set has to satisfy, whichever reader it comes from."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from commlearn.batch import Modality
from commlearn.errors import DataError, Problems
from commlearn.records import Dataset, Records

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
    if list(records.columns) != list(data.train.columns):
        problems.add(
            f"{part} has the modalities {list(records.columns)}, but train has {list(data.train.columns)}"
        )
        return
    if set(records.targets) != set(data.train.targets):
        problems.add(
            f"{part} has the targets {sorted(records.targets)}, but train has {sorted(data.train.targets)}"
        )
    rows = np.linspace(0, len(records) - 1, min(LOOKED_AT, len(records))).astype(np.int64)
    for name, column in records.columns.items():
        where = f"{part}, {name}"
        if column.spec != data.train.columns[name].spec:
            problems.add(
                f"{where} is {tuple(column.spec)}, but in train {tuple(data.train.columns[name].spec)}"
            )
        taken = column.take(rows)
        for problem in _wrong_values(taken, column.spec.kind, column.spec.shape, len(rows)):
            problems.add(f"{where}: {problem}")
        if not _equal(taken, column.take(rows)):
            problems.add(f"{where}: reading the same records twice gives different values")
        if not _equal(taken.apply(lambda values: values.flip(0)), column.take(rows[::-1].copy())):
            problems.add(f"{where}: records are not returned in the requested order")


def _wrong_values(taken: Modality, kind: str, shape: tuple[int, ...], count: int) -> list[str]:
    values, wrong = taken.values, []
    if len(values) != count:
        return [f"{len(values)} records were returned for {count} rows"]
    expected = {"image": 3, "text": 1, "tabular": 1, "vector": 1, "series": 2, "audio": 2}.get(kind)
    if expected is not None and values.ndim != expected + 1:
        wrong.append(f"a {kind} has {expected} axes, but values have shape {tuple(values.shape[1:])}")
    if kind in ("image", "vector") and tuple(values.shape[1:]) != shape:
        wrong.append(f"values have shape {tuple(values.shape[1:])}, but the spec says {shape}")
    if kind in ("series", "audio") and values.shape[-1] != shape[0]:
        wrong.append(f"values have {values.shape[-1]} channels, but the spec says {shape[0]}")
    if values.is_floating_point() and kind != "tabular" and not values.isfinite().all():
        wrong.append("values are not finite")
    if taken.padding is not None:
        if taken.padding.shape != values.shape[:2] or taken.padding.dtype != torch.bool:
            wrong.append(f"padding has shape {tuple(taken.padding.shape)} and type {taken.padding.dtype}")
        elif (taken.padding[:, :-1] & ~taken.padding[:, 1:]).any():
            wrong.append("padding precedes a step; it must be at the end")
        elif taken.present is None and taken.padding.all(dim=1).any():
            wrong.append("a record is all padding, but not marked absent")
    if taken.present is not None and taken.present.shape != (count,):
        wrong.append(f"present has shape {tuple(taken.present.shape)}")
    return wrong


def _check_disjoint(data: Dataset, problems: Problems) -> None:
    """Check that the parts share no records; a few identical records are tolerated."""
    seen = {part: _prints(records) for part, records in data.parts.items() if len(records)}
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test"), ("probe", "test")):
        if one in seen and other in seen:
            few, many = sorted((seen[one], seen[other]), key=len)
            shared = len(few & many)
            if shared > max(1, len(few) // 4):
                problems.add(f"{shared} of the {len(few)} records checked are both in {one} and in {other}")


def _prints(records: Records, most: int = 1024) -> set[bytes]:
    """Return what identifies the records: digests of their modalities without padding."""
    prints = set()
    for start in range(0, min(len(records), most), LOOKED_AT):
        rows = np.arange(start, min(start + LOOKED_AT, len(records), most))
        taken = list(records.view(rows).values())
        for row in range(len(rows)):
            digest = blake2b()
            for modality in taken:
                values = modality.values[row]
                if modality.padding is not None:
                    values = values[~modality.padding[row]]
                digest.update(values.contiguous().numpy().tobytes() + b"|")
            prints.add(digest.digest())
    return prints


def _equal(one: Modality, other: Modality) -> bool:
    pairs = [(one.values, other.values), (one.padding, other.padding), (one.present, other.present)]
    return all(
        (left is None and right is None) or (left is not None and right is not None and _same(left, right))
        for left, right in pairs
    )


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.shape == right.shape and torch.equal(left.nan_to_num(), right.nan_to_num())
