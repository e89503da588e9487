"""The rows that a model was trained on, and whose labels it saw. Every readout checks them before it scores.

Rows are stored as keys, hashes of their ids or cells (`tables/splits.py`), never as the ids or cells. A few
statistics identify a training's records, so that it does not resume with others or with a changed table.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from commlearn.errors import DAMAGED, RunError
from commlearn.records import Dataset, Records
from commlearn.storage.fingerprint import differences
from commlearn.storage.plain_json import parse_json
from commlearn.tables.streamed import StreamedRecords

TRAIN, VALIDATION, UNKNOWN = 0, 1, -1
WITHOUT_LABELS = 3  # trained on before the fine-tuning, which saw no label of it


@dataclass(frozen=True)
class TrainingRows:
    """Keys of the rows that a training was given, each with its part and group."""

    keys: np.ndarray  # (rows,) uint64, sorted
    parts: np.ndarray  # (rows,) int8: 0 = trained on, 1 = validation, 2 = test, 3 = trained on without labels
    groups: np.ndarray | None = None  # (rows,) uint64; None if the schema named no group
    labels: tuple[str, ...] = ()  # targets whose labels were seen, in rows of parts 0 and 1
    label_counts: Mapping[str, int] = field(default_factory=dict)  # labels per target in rows of part 0

    def parts_of(self, keys: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Return the part of each row, -1 if unknown to the training; a new row takes its group's part."""
        stored = np.where(self.parts == WITHOUT_LABELS, TRAIN, self.parts).astype(np.int8)
        parts = _look_up(self.keys, stored, keys)
        if groups is None or self.groups is None:
            return parts
        return np.where(parts == UNKNOWN, _look_up(self.groups, stored, groups), parts)

    def used_in_training(self, keys: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Return which rows, or rows of their group, were used to train or to stop training, (rows,) bool."""
        used = np.isin(self.parts, (TRAIN, VALIDATION))
        mask = np.isin(keys, self.keys[used])
        if groups is not None and self.groups is not None:
            mask |= np.isin(groups, self.groups[used])
        return mask

    def joined(self, other: TrainingRows | None) -> TrainingRows:
        """Return the rows of both trainings; of a row's parts, train goes before validation and test."""
        return self if other is None else _joined(self, other)

    def after(self, earlier: TrainingRows | None) -> TrainingRows:
        """Return these rows of a fine-tuning, and those of the training before it, which saw no labels."""
        if earlier is None:
            return self
        trained = earlier.parts == TRAIN
        groups = None if self.groups is None or earlier.groups is None else earlier.groups[trained]
        parts = np.full(int(trained.sum()), WITHOUT_LABELS, dtype=np.int8)
        return self.joined(TrainingRows(earlier.keys[trained], parts, groups))

    def to_bytes(self) -> bytes:
        """Return a safetensors file, a format that holds only numbers and names and cannot run code."""
        arrays = {"keys": self.keys.view(np.int64), "parts": self.parts}
        if self.groups is not None:
            arrays["groups"] = self.groups.view(np.int64)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        labels = {name: self.label_counts.get(name) for name in self.labels}
        return save(tensors, metadata={"labels": json.dumps(labels)})

    @classmethod
    def from_bytes(cls, content: bytes) -> TrainingRows:
        """Read what `to_bytes` made.

        Raises:
            ValueError: the bytes are something else.
        """
        try:
            size = int.from_bytes(content[:8], "little")
            header = parse_json(content[8 : 8 + size])
            labels = parse_json(header.get("__metadata__", {}).get("labels", "[]"))  # names or counts by name
            entries = labels.items() if isinstance(labels, dict) else ()
            counts = {name: int(count) for name, count in entries if count is not None}
            tensors = load(content)
            keys, parts = tensors["keys"].numpy().view(np.uint64), tensors["parts"].numpy()
            groups = tensors["groups"].numpy().view(np.uint64) if "groups" in tensors else None
        except (*DAMAGED, SafetensorError) as problem:
            raise ValueError(f"it does not hold the rows of a training ({problem})") from problem
        lengths = {len(array) for array in (keys, parts, groups) if array is not None}
        if len(lengths) > 1 or parts.dtype != np.int8 or not all(isinstance(name, str) for name in labels):
            raise ValueError("its arrays do not fit together")
        return _joined(TrainingRows(keys, parts, groups, tuple(labels), counts))


def rows_of_dataset(data: Dataset, labels: Iterable[str] = ()) -> TrainingRows | None:
    """Return the rows that a training on this data set has to store; None if they have no keys.

    Example:
        >>> from commlearn.datasets.trifeature import Trifeature
        >>> data = Trifeature(size=24, train_pairs=20).read()
        >>> rows = rows_of_dataset(data, ["shared"])
        >>> train, test = (rows.used_in_training(part.keys) for part in (data.train, data.test))
        >>> bool(train.all()), bool(test.any())
        (True, False)
    """
    labels = tuple(labels)
    counts = {name: _count_labels(data.train.targets[name]) for name in labels if name in data.train.targets}
    rows = [
        TrainingRows(part.keys, np.full(len(part), code, dtype=np.int8), part.groups, labels, counts)
        for code, part in enumerate((data.train, data.validation, data.test))
        if part and part.keys is not None
    ]
    return _joined(*rows) if rows else None


def _count_labels(labels: np.ndarray) -> int:
    return int(pd.notna(labels).reshape(len(labels), -1).all(axis=1).sum())


def _joined(*several: TrainingRows) -> TrainingRows:
    """Join rows, sort them by key, and keep each pair of key and group once, with the smallest of its parts.

    Copies of a row may belong to several groups, all of which were trained on. If only some rows have
    groups, each of the others is a group of its own. Of a target's label counts, the larger one counts.
    """
    keys = np.concatenate([rows.keys for rows in several])
    parts = np.concatenate([rows.parts for rows in several])
    pairs = {"key": keys}
    groups = None
    if any(rows.groups is not None for rows in several):
        groups = np.concatenate([rows.keys if rows.groups is None else rows.groups for rows in several])
        pairs["group"] = groups
    order = np.lexsort((parts, keys) if groups is None else (groups, parts, keys))
    first = order[~pd.DataFrame(pairs).iloc[order].duplicated().to_numpy()]
    counts: dict[str, int] = {}
    for name, count in (entry for rows in several for entry in rows.label_counts.items()):
        counts[name] = max(count, counts.get(name, 0))
    labels = dict.fromkeys(name for rows in several for name in rows.labels)
    return TrainingRows(
        keys[first], parts[first], None if groups is None else groups[first], tuple(labels), counts
    )


def _look_up(entries: np.ndarray, parts: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the smallest part of the entries that equal each query, -1 if there is none."""
    if not len(entries):
        return np.full(len(queries), UNKNOWN, dtype=np.int8)
    order = np.lexsort((parts, entries))
    ordered = entries[order]
    index = np.minimum(np.searchsorted(ordered, queries), len(ordered) - 1)
    return np.where(ordered[index] == queries, parts[order][index], UNKNOWN).astype(np.int8)


LOOKED_AT = 64  # records whose values are compared
SHORT = 16  # digits of a digest in a message
CLOSE = 1e-3  # tolerance for another machine, relative to a number or to its deviation


def data_identity(data: Dataset) -> dict[str, Any]:
    """Return plain values that tell these records from others."""
    train: Records = data.train.sampled if isinstance(data.train, StreamedRecords) else data.train
    rows = np.unique(np.linspace(0, len(train) - 1, min(LOOKED_AT, len(train))).astype(np.int64))
    keys = hashlib.sha256()
    for part in data.parts.values():
        keys.update(b"none" if part.keys is None else np.ascontiguousarray(part.keys).tobytes())
    targets = {name: values[rows].tolist() for name, values in train.targets.items()}
    view = train.view(rows) if len(rows) else {}
    values = {name: modality.values.double() for name, modality in view.items()}
    return {
        "files": None if data.files is None else dict(data.files),
        "records": {name: len(part) for name, part in data.parts.items()},
        "keys": keys.hexdigest(),
        "targets": hashlib.sha256(repr(targets).encode()).hexdigest(),
        "values": {
            name: [float(numbers.mean()), float(numbers.std(correction=0))]
            for name, numbers in values.items()
        },
    }


def identity_digest(identity: Mapping[str, Any]) -> str:
    """Return a digest of the part of an identity that is the same on every machine."""
    exact = {key: value for key, value in identity.items() if key != "values"}
    return hashlib.sha256(json.dumps(exact, sort_keys=True).encode()).hexdigest()


def check_same_data(where: object, before: Mapping[str, Any], now: Mapping[str, Any], remedy: str) -> None:
    """Refuse records that are not those the training began with.

    `remedy` is a sentence that tells the user what to do.
    """
    changes = []
    if before.get("files") and now.get("files") and (files := differences(before["files"], now["files"])):
        changes.append(files)
    for key in ("records", "keys", "targets"):
        if key in now and before.get(key) != now[key]:
            changes.append(f"{key} were {_text(before.get(key))}, but are now {_text(now[key])}")
    for name, numbers in now.get("values", {}).items():
        pair = before.get("values", {}).get(name)
        if pair is None or not _close(pair, numbers):
            changes.append(f"mean and deviation of {name} were {_text(pair)}, but are now {_text(numbers)}")
    if changes:
        raise RunError(f"{where} was started with other data: {'; '.join(changes)}. {remedy}")


def _close(previous: Sequence[float], current: Sequence[float]) -> bool:
    tolerance = CLOSE * abs(previous[1])
    return all(
        old == new or math.isclose(old, new, rel_tol=CLOSE, abs_tol=tolerance) or math.isnan(old + new)
        for old, new in zip(previous, current, strict=True)
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(f"{number:.4g}" for number in value)
    return value[:SHORT] if isinstance(value, str) else str(value)
