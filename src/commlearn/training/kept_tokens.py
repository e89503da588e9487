"""Frozen encoders run once: their token states are written to files, which training then reads.

A file is a line of magic, a line of JSON (shape, type and the SHA-256 of the rest) with spaces up to a
multiple of 64 bytes, and the rest: the states, which records are present, and which states are padding.
It is written completely or not at all; what a killed process leaves has another name, and no lock.

A file is named after everything that determines its content: the records, the encoder's weights, the
precision and the augmentation. Files are written one by one, so that a stopped computation can continue
where it was; a damaged file is computed again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from commlearn.augmentations import Augmentation, TokenDropout, TokenVersion
from commlearn.batch import Modality, Spec
from commlearn.config.build import build_augmentations
from commlearn.config.configuration import Experiment
from commlearn.errors import DAMAGED, DataError
from commlearn.methods.base import Method
from commlearn.models.encoders.pretrained import Frozen, frozen_encoders
from commlearn.records import Column, Dataset, Drawn, Records
from commlearn.storage.locks import atomic_file, remove_if_abandoned
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import parse_json

MAGIC = b"commlearn tokens 1\n"
ALIGNED = 64  # bytes


@dataclass(frozen=True)
class TokenShard:
    """Token states of some records, each in one or more versions: unchanged, and augmented."""

    values: np.ndarray  # (records, versions, length, features)
    padding: np.ndarray | None  # (records, versions, length) bool, True = ignore
    present: np.ndarray  # (records,) bool, False = the record lacks the modality

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class TokenColumn:
    """Token states of many records, read from disk on demand."""

    shards: Sequence[TokenShard]  # all of one size, except the last

    @property
    def spec(self) -> Spec:
        versions, _, features = self.shards[0].values.shape[1:]
        return Spec("tokens" if versions == 1 else "token_versions", (features,))

    @cached_property
    def present(self) -> np.ndarray | None:
        """(records,): False where a record lacks the modality; None if all have it."""
        mask = np.concatenate([shard.present for shard in self.shards])
        return None if mask.all() else mask

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    def take(self, rows: np.ndarray) -> Modality:
        """Return (batch, length, features), or (batch, versions, length, features) if there are several."""
        shard_numbers, offsets = np.divmod(rows, len(self.shards[0]))
        used = np.unique(shard_numbers)
        versions, _, features = self.shards[0].values.shape[1:]
        length = max((self.shards[i].values.shape[2] for i in used), default=1)
        values = np.zeros((len(rows), versions, length, features), self.shards[0].values.dtype)
        padding = np.ones((len(rows), versions, length), dtype=bool)
        for i in used:
            shard, mask = self.shards[i], shard_numbers == i
            shard_length = shard.values.shape[2]
            values[mask, :, :shard_length] = shard.values[offsets[mask]]
            padding[mask, :, :shard_length] = False if shard.padding is None else shard.padding[offsets[mask]]
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
    """Write a file that `open_shard` reads; it appears once it is complete."""
    parts = [shard.values, shard.present.astype(np.uint8)]
    parts += [] if shard.padding is None else [shard.padding.astype(np.uint8)]
    buffers = [np.ascontiguousarray(part).data.cast("B") for part in parts]
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    metadata = {
        "shape": shard.values.shape,
        "dtype": str(shard.values.dtype),
        "padding": shard.padding is not None,
        "sha256": digest.hexdigest(),
    }
    head = MAGIC + json.dumps(metadata).encode()
    head += b" " * (-(len(head) + 1) % ALIGNED) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.writelines([head, *buffers])
    except OSError as problem:
        raise DataError(
            f"Cannot keep token states in {path.parent}: {problem.strerror}. Free some space, name another "
            "folder in COMMLEARN_CACHE, or set cache: false for the encoder."
        ) from problem


def clear_leftovers(folder: Path) -> None:
    """Remove files that killed processes had begun to write; living processes hold a lock on theirs."""
    for leftover in folder.glob(".*.tokens.*.part"):
        remove_if_abandoned(leftover)


def open_shard(path: Path) -> TokenShard:
    """Check a file's content and map it into memory; refuse a damaged one."""
    try:
        with plain_file(path).open("rb") as file:
            magic, head = file.readline(), file.readline()
            start = file.tell()
        if magic != MAGIC:
            raise ValueError("it does not start like a file of token states")
        metadata = parse_json(head)
        shape, dtype = tuple(metadata["shape"]), np.dtype(metadata["dtype"])
        sizes = [math.prod(shape) * dtype.itemsize, shape[0], math.prod(shape[:3]) * metadata["padding"]]
        content = np.memmap(path, np.uint8, "r", start)
        if len(content) != sum(sizes):
            raise ValueError(f"it has {len(content)} of {sum(sizes)} bytes")
        if hashlib.sha256(content.data).hexdigest() != metadata["sha256"]:
            raise ValueError("its content does not match its checksum")
    except (*DAMAGED, OSError) as problem:
        raise DataError(f"{path} is damaged: {problem}") from problem
    values, present, padding = np.split(content, np.cumsum(sizes)[:2])
    return TokenShard(
        values.view(dtype).reshape(shape),
        padding.view(bool).reshape(shape[:3]) if metadata["padding"] else None,
        np.array(present, dtype=bool),
    )


FORMAT = 1
SHARD = 512  # records per file
AT_ONCE = 32  # records per batch of the encoder


def with_kept_tokens(
    data: Dataset, method: Method, experiment: Experiment, fabric: Fabric, tell: Callable[[str], None]
) -> tuple[Dataset, dict[str, Augmentation]]:
    """Return the data with kept token states for frozen encoders, and the augmentations that fit them."""
    augmentations = build_augmentations(experiment, data.train.specs)
    train: dict[str, Column] = {}
    validation: dict[str, Column] = {}
    frozen = frozen_encoders(method.encoders)
    if frozen:
        clear_leftovers(cache_folder())
    for name, encoder in frozen.items():
        choice = (data.state or {})[name]["encoder"]
        if not choice.get("cache", False):
            continue
        original = augmentations.pop(name, None)
        needs_encoder = original is not None and not isinstance(original, TokenDropout)
        views = choice["views"] if needs_encoder else 0
        keeper = Keeper(name, encoder, choice["precision"], original if views else None, views, fabric, tell)
        train[name] = keeper.keep(data.train.columns[name])
        if data.validation is not None and len(data.validation):
            validation[name] = keeper.keep(data.validation.columns[name])
        if views:
            augmentations[name] = TokenVersion()
        elif original is not None:  # otherwise "none" was chosen
            augmentations[name] = TokenDropout() if needs_encoder else original
        source = (
            f"{name}: token states of {len(data.train)} records by {choice['pretrained']} (frozen), "
            f"{choice['precision']}, are read from {cache_folder()}"
        )
        tell(f"{source}; a view is {_view(original, augmentations.get(name), views)}")
    validation_records = _with_columns(data.validation, validation) if data.validation is not None else None
    return replace(data, train=_with_columns(data.train, train), validation=validation_records), augmentations


def _with_columns(records: Records, columns: Mapping[str, Column]) -> Records:
    return replace(records, columns={**records.columns, **columns})


@dataclass(frozen=True)
class Keeper:
    """Computes a frozen encoder's token states and keeps them, or reads those that were kept."""

    modality: str  # for messages
    encoder: Frozen
    precision: str
    augmentation: Augmentation | None  # makes all versions but the unchanged record
    views: int  # number of augmented versions
    fabric: Fabric
    tell: Callable[[str], None]

    def keep(self, column: Column) -> Column:
        """Return the token states of every row, or of every version if records have several.

        Each process computes its share of the files.
        """
        if isinstance(column, Drawn):
            return column.changed(self.keep)
        parts = [np.arange(start, min(start + SHARD, len(column))) for start in range(0, len(column), SHARD)]
        assigned = range(self.fabric.global_rank, len(parts), self.fabric.world_size)
        shards = {number: self.shard(column, parts[number]) for number in assigned}
        self.fabric.barrier()
        return TokenColumn(
            [shards[n] if n in shards else self.shard(column, rows) for n, rows in enumerate(parts)]
        )

    def shard(self, column: Column, rows: np.ndarray) -> TokenShard:
        """Return these records' token states, read from their file or computed and kept."""
        modality = column.take(rows)
        key = self.key(modality)
        path = cache_folder() / f"{key}.tokens"
        if path.exists():
            try:
                return open_shard(path)
            except DataError as problem:
                self.tell(f"{self.modality}: {problem}; it is computed again")
        self.tell(f"{self.modality}: encoding records {rows[0] + 1} to {rows[-1] + 1} of {len(column)}")
        write_shard(path, self.encoded(modality, column.spec, key))
        return open_shard(path)

    def key(self, modality: Modality) -> str:
        """Return the file's name, a hash of everything that determines its content."""
        description = self.encoder.description
        settings = [FORMAT, description.sha256, description.architecture, self.precision, self.views]
        settings += [repr(self.augmentation), tuple(modality.values.shape), str(modality.values.dtype)]
        digest = hashlib.sha256(repr(settings).encode())
        for tensor in (modality.values, modality.padding, modality.present):
            digest.update(b"none" if tensor is None else tensor.contiguous().numpy().data.cast("B"))
        return digest.hexdigest()

    def encoded(self, modality: Modality, spec: Spec, key: str) -> TokenShard:
        generator = torch.Generator().manual_seed(int(key[:15], 16))
        batches = [slice(start, start + AT_ONCE) for start in range(0, len(modality), AT_ONCE)]
        parts = [self.versions(modality.apply(itemgetter(batch)), spec, generator) for batch in batches]
        values = np.concatenate([values for values, _ in parts])
        if not np.isfinite(values).all():
            raise DataError(
                f"{self.modality}: token states do not fit {self.precision}. Set precision: float32 for the "
                "encoder."
            )
        paddings = [padding for _, padding in parts if padding is not None]
        padding = np.concatenate(paddings) if paddings else None
        return TokenShard(values, padding, modality.presence.numpy())

    @torch.no_grad()
    def versions(
        self, modality: Modality, spec: Spec, generator: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Encode records unchanged, then in augmented versions: (batch, versions, length, features)."""
        inputs = [modality]
        if self.augmentation is not None:
            inputs += [self.augmentation(modality, generator, spec) for _ in range(self.views)]
        encoded = []
        for version in inputs:
            moved = version.apply(lambda tensor: tensor.to(self.fabric.device))
            encoded.append(self.encoder(moved.values, moved.padding))
        values = torch.stack([states for states, _ in encoded], dim=1).cpu().numpy()
        with np.errstate(over="ignore"):
            stored = values.astype(self.precision)
        if all(padding is None for _, padding in encoded):
            return stored, None
        shape = values[:, 0, :, 0].shape
        paddings = [
            torch.zeros(shape, dtype=torch.bool) if padding is None else padding.cpu()
            for _, padding in encoded
        ]
        return stored, torch.stack(paddings, dim=1).numpy()


def cache_folder() -> Path:
    """Return the folder for token states: in COMMLEARN_CACHE, otherwise in the user's cache folder."""
    base = os.environ.get("COMMLEARN_CACHE")
    if base:
        return Path(base) / "tokens"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "commlearn" / "tokens"


def _view(old: Augmentation | None, new: Any, views: int) -> str:
    """Describe in words what one view of a record is."""
    if views:
        return f"one of {views} kept versions, each augmented by {old}"
    if new is None:
        return "the unchanged record"
    note = "" if new is old else f", in place of {type(old).__name__}, which would need the encoder"
    return f"token dropout (up to {new.most:g} of a record's tokens){note}"
