"""Identifies a training's records, so that it does not resume with others or with a changed table."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from commlearn.errors import RunError
from commlearn.records import Dataset, Records
from commlearn.storage.fingerprint import differences
from commlearn.tables.streamed import StreamedRecords

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
    changes = _changes(before, now)
    if changes:
        raise RunError(f"{where} was started with other data: {changes}. {remedy}")


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Describe how two identities differ; empty if they do not."""
    changes = []
    if old.get("files") and new.get("files") and (files := differences(old["files"], new["files"])):
        changes.append(files)
    for key in ("records", "keys", "targets"):
        if key in new and old.get(key) != new[key]:
            changes.append(f"{key} were {_text(old.get(key))}, but are now {_text(new[key])}")
    for name, numbers in new.get("values", {}).items():
        pair = old.get("values", {}).get(name)
        if pair is None or not _close(pair, numbers):
            changes.append(f"mean and deviation of {name} were {_text(pair)}, but are now {_text(numbers)}")
    return "; ".join(changes)


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
