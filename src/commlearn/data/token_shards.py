"""Token states that were computed once: files of some records each, memory-mapped.

A file is a line of magic, a line of JSON (shapes, type and the SHA-256 of the rest), spaces up to a
multiple of 64 bytes, and the rest: states, which of them are padding, and which records are there.
It is written whole or not at all; what a killed process leaves has another name, and no lock.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from commlearn.data.batch import Modality
from commlearn.data.file_lock import give_name, open_part, remove_if_abandoned
from commlearn.data.plain_files import plain_file
from commlearn.data.plain_json import parse_json
from commlearn.data.records import Spec
from commlearn.errors import DataError

__all__ = ["TokenColumn", "TokenShard", "clear_leftovers", "open_shard", "write_shard"]

MAGIC = b"commlearn tokens 1\n"
ALIGNED = 64  # bytes


@dataclass(frozen=True)
class TokenShard:
    """Token states of some records, each in one or more versions: as it is, and augmented."""

    values: np.ndarray  # (records, versions, length, features)
    padding: np.ndarray | None  # (records, versions, length) bool, True = ignore
    present: np.ndarray  # (records,) bool, False = the record lacks the modality

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class TokenColumn:
    """Token states of many records, read from disk as they are asked for."""

    shards: Sequence[TokenShard]  # all but the last of one size

    @property
    def spec(self) -> Spec:
        versions, _, features = self.shards[0].values.shape[1:]
        return Spec("tokens" if versions == 1 else "token_versions", (features,))

    @cached_property
    def present(self) -> np.ndarray | None:
        """(records,): False where a record lacks the modality; None if all have it."""
        there = np.concatenate([shard.present for shard in self.shards])
        return None if there.all() else there

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    def take(self, rows: np.ndarray) -> Modality:
        """(batch, length, features), or (batch, versions, length, features) where there are several."""
        which, place = np.divmod(rows, len(self.shards[0]))
        used = np.unique(which)
        versions, _, features = self.shards[0].values.shape[1:]
        length = max((self.shards[i].values.shape[2] for i in used), default=1)
        values = np.zeros((len(rows), versions, length, features), self.shards[0].values.dtype)
        padding = np.ones((len(rows), versions, length), dtype=bool)
        for i in used:
            shard, here = self.shards[i], which == i
            there = shard.values.shape[2]
            values[here, :, :there] = shard.values[place[here]]
            padding[here, :, :there] = False if shard.padding is None else shard.padding[place[here]]
        longest = np.flatnonzero((~padding).any(axis=(0, 1))).max(initial=0) + 1
        values, padding = values[:, :, :longest], padding[:, :, :longest]
        if versions == 1:
            values, padding = values[:, 0], padding[:, 0]
        present = None if self.present is None else torch.from_numpy(self.present[rows])
        return Modality(
            torch.from_numpy(np.ascontiguousarray(values)),
            torch.from_numpy(padding.copy()) if padding.any() else None,
            present,
        )


def write_shard(path: Path, shard: TokenShard) -> None:
    """Write a file that `open_shard` reads; it appears when it is complete."""
    parts = [shard.values, shard.present.astype(np.uint8)]
    parts += [] if shard.padding is None else [shard.padding.astype(np.uint8)]
    buffers = [np.ascontiguousarray(part).data.cast("B") for part in parts]
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    stated = {
        "shape": shard.values.shape,
        "dtype": str(shard.values.dtype),
        "padding": shard.padding is not None,
        "sha256": digest.hexdigest(),
    }
    head = MAGIC + json.dumps(stated).encode()
    head += b" " * (-(len(head) + 1) % ALIGNED) + b"\n"
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_part(fresh) as file:
            file.write(head)
            for buffer in buffers:
                file.write(buffer)
            give_name(file, path)
    except OSError as problem:
        raise DataError(
            f"Cannot keep token states in {path.parent}: {problem.strerror}. Free some space, name another "
            "folder in COMMLEARN_CACHE, or set cache: false for the encoder."
        ) from problem


def clear_leftovers(folder: Path) -> None:
    """Remove what processes that were killed had begun to write; the living hold a lock on theirs."""
    for leftover in folder.glob(".*.tokens.*.part"):
        remove_if_abandoned(leftover)


def open_shard(path: Path) -> TokenShard:
    """Map a file into memory after its content was checked; a damaged one is refused."""
    try:
        with plain_file(path).open("rb") as file:
            magic, head = file.readline(), file.readline()
            start = file.tell()
        if magic != MAGIC:
            raise ValueError("its start is not that of token states")
        stated = parse_json(head)
        shape, dtype = tuple(stated["shape"]), np.dtype(stated["dtype"])
        sizes = [math.prod(shape) * dtype.itemsize, shape[0], math.prod(shape[:3]) * stated["padding"]]
        content = np.memmap(path, np.uint8, "r", start)
        if len(content) != sum(sizes):
            raise ValueError(f"it has {len(content)} bytes of {sum(sizes)}")
        if hashlib.sha256(content.data).hexdigest() != stated["sha256"]:
            raise ValueError("its content does not match its checksum")
    except (OSError, ValueError, LookupError, TypeError, OverflowError) as problem:
        raise DataError(f"{path} is damaged: {problem}") from problem
    values, present, padding = np.split(content, np.cumsum(sizes)[:2])
    return TokenShard(
        values.view(dtype).reshape(shape),
        padding.view(bool).reshape(shape[:3]) if stated["padding"] else None,
        np.array(present, dtype=bool),
    )
