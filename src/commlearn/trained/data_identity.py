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


def check_same_data(where: object, before: Mapping[str, Any], now: Mapping[str, Any], way_out: str) -> None:
    """Refuse records that are not those the training began with.

    `way_out` is a sentence that tells the user what to do.
    """
    changes = _changes(before, now)
    if changes:
        raise RunError(f"{where} was started with other data: {changes}. {way_out}")


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe how two identities differ; empty if they do not."""
    changes = []
    if before.get("files") and now.get("files") and (files := differences(before["files"], now["files"])):
        changes.append(files)
    for what in ("records", "keys", "targets"):
        if what in now and before.get(what) != now[what]:
            changes.append(f"{what} were {_shown(before.get(what))}, but are now {_shown(now[what])}")
    for name, numbers in now.get("values", {}).items():
        was = before.get("values", {}).get(name)
        if was is None or not _close(was, numbers):
            changes.append(f"mean and deviation of {name} were {_shown(was)}, but are now {_shown(numbers)}")
    return "; ".join(changes)


def _close(before: Sequence[float], now: Sequence[float]) -> bool:
    tolerance = CLOSE * abs(before[1])
    return all(
        was == value or math.isclose(was, value, rel_tol=CLOSE, abs_tol=tolerance) or math.isnan(was + value)
        for was, value in zip(before, now, strict=True)
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(f"{number:.4g}" for number in value)
    return value[:SHORT] if isinstance(value, str) else str(value)
