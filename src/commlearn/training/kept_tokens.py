"""Frozen encoders run once: training then reads their token states from disk.

What is kept is found again by what decides it: the records' content, the encoder's weights, the
precision and the augmentation. Files are written one by one, so that a stopped computation goes on
where it was; a damaged file is computed anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from commlearn.augmentations import Augmentation, TokenDropout, TokenVersion
from commlearn.data.batch import Modality, to_device
from commlearn.data.records import Chosen, Column, Dataset, Drawn, Records
from commlearn.data.token_shards import TokenColumn, TokenShard, clear_leftovers, open_shard, write_shard
from commlearn.errors import DataError
from commlearn.methods.base import Method
from commlearn.models.encoders.pretrained import Frozen, frozen_encoders
from commlearn.training.build import build_augmentations
from commlearn.training.configuration import Experiment

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Keeper", "cache_folder", "with_kept_tokens"]

FORMAT = 1
SHARD = 512  # records of a file
AT_ONCE = 32  # records that the encoder sees together


def with_kept_tokens(
    data: Dataset,
    method: Method,
    experiment: Experiment,
    state: Mapping[str, Any] | None,
    fabric: Fabric,
    tell: Callable[[str], None],
) -> tuple[Dataset, dict[str, Augmentation]]:
    """Records whose frozen encoders need not run again, and the augmentations that fit them.

    Args:
        data: its training and validation records are looked at.
        method: holds the encoders.
        experiment: names the augmentations.
        state: what each modality learned, with the choice of its encoder.
        fabric: knows the device, and shares the work among processes.
        tell: takes a line for the log.
    """
    augmentations = build_augmentations(experiment, data.train.specs)
    train: dict[str, Column] = {}
    validation: dict[str, Column] = {}
    frozen = frozen_encoders(method.encoders)
    if frozen:
        clear_leftovers(cache_folder())
    for name, encoder in frozen.items():
        choice = (state or {})[name]["encoder"]
        if not choice.get("cache", False):
            continue
        before = augmentations.pop(name, None)
        augmented = before is not None and not isinstance(before, TokenDropout)
        views = choice["views"] if augmented else 0
        keeper = Keeper(name, encoder, choice["precision"], before if views else None, views, tell)
        train[name] = keeper.keep(data.train.columns[name], fabric)
        if data.validation is not None and len(data.validation):
            validation[name] = keeper.keep(data.validation.columns[name], fabric)
        if views:
            augmentations[name] = TokenVersion()
        elif before is not None:  # none was chosen otherwise
            augmentations[name] = TokenDropout() if augmented else before
        place = (
            f"{name}: token states of {len(data.train)} records by {choice['pretrained']} (frozen), "
            f"{choice['precision']}, are read from {cache_folder()}"
        )
        tell(f"{place}; a view is {_view(before, augmentations.get(name), views)}")
    kept = _with_columns(data.validation, validation) if data.validation is not None else None
    return replace(data, train=_with_columns(data.train, train), validation=kept), augmentations


def _with_columns(records: Records, columns: Mapping[str, Column]) -> Records:
    return replace(records, columns={**records.columns, **columns})


@dataclass(frozen=True)
class Keeper:
    """Computes what a frozen encoder makes of records, or finds it where it was kept."""

    modality: str  # for messages
    encoder: Frozen
    precision: str
    augmentation: Augmentation | None  # of the versions beside the record as it is
    views: int  # how many of them
    tell: Callable[[str], None]

    def keep(self, column: Column, fabric: Fabric) -> Column:
        """The column's token states; of texts with several versions, those of every version."""
        if not isinstance(column, Drawn):
            return self.all(column, fabric)
        rows = [np.arange(first, first + n) for first, n in zip(column.first, column.count, strict=True)]
        kept = self.all(Chosen(column.column, np.concatenate(rows)), fabric)
        return Drawn(kept, column.count.cumsum() - column.count, column.count)

    def all(self, column: Column, fabric: Fabric) -> TokenColumn:
        """The token states of every row; each process computes its share of the files."""
        parts = [np.arange(start, min(start + SHARD, len(column))) for start in range(0, len(column), SHARD)]
        mine = range(fabric.global_rank, len(parts), fabric.world_size)
        shards = {number: self.shard(column, parts[number], fabric.device) for number in mine}
        fabric.barrier()
        return TokenColumn(
            [
                shards[number] if number in shards else self.shard(column, rows, fabric.device)
                for number, rows in enumerate(parts)
            ]
        )

    def shard(self, column: Column, rows: np.ndarray, device: torch.device) -> TokenShard:
        """These records' token states: found, or computed and kept."""
        modality = column.take(rows)
        key = self.key(modality)
        path = cache_folder() / f"{key}.tokens"
        if path.exists():
            try:
                return open_shard(path)
            except DataError as problem:
                self.tell(f"{self.modality}: {problem}; it is computed anew")
        self.tell(f"{self.modality}: encoding records {rows[0] + 1} to {rows[-1] + 1} of {len(column)}")
        write_shard(path, self.encoded(modality, column, key, device))
        return open_shard(path)

    def key(self, modality: Modality) -> str:
        """Names the file by all that decides its content."""
        described = self.encoder.description
        settings = [FORMAT, described.sha256, described.architecture, self.precision, self.views]
        settings += [repr(self.augmentation), tuple(modality.values.shape), str(modality.values.dtype)]
        digest = hashlib.sha256(repr(settings).encode())
        for tensor in (modality.values, modality.padding, modality.present):
            digest.update(b"none" if tensor is None else tensor.contiguous().numpy().data.cast("B"))
        return digest.hexdigest()

    def encoded(self, modality: Modality, column: Column, key: str, device: torch.device) -> TokenShard:
        generator = torch.Generator().manual_seed(int(key[:15], 16))
        parts = [self.versions(part, column, generator, device) for part in _slices(modality, AT_ONCE)]
        values = np.concatenate([values for values, _ in parts])
        if not np.isfinite(values).all():
            raise DataError(
                f"{self.modality}: token states do not fit {self.precision}. Set precision: float32 for the "
                "encoder."
            )
        paddings = [padding for _, padding in parts if padding is not None]
        present = np.ones(len(values), bool) if modality.present is None else modality.present.numpy()
        return TokenShard(values, np.concatenate(paddings) if paddings else None, present)

    @torch.no_grad()
    def versions(
        self, modality: Modality, column: Column, generator: torch.Generator, device: torch.device
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The record as it is, then its augmented versions: (batch, versions, length, features)."""
        seen = [modality]
        if self.augmentation is not None:
            seen += [self.augmentation(modality, generator, column.spec) for _ in range(self.views)]
        found = [self.encoder(*_inputs(version, device)) for version in seen]
        values = torch.stack([states for states, _ in found], dim=1).cpu().numpy()
        with np.errstate(over="ignore"):
            kept = values.astype(self.precision)
        if all(padding is None for _, padding in found):
            return kept, None
        shape = values[:, 0, :, 0].shape
        full = [
            torch.zeros(shape, dtype=torch.bool) if padding is None else padding.cpu() for _, padding in found
        ]
        return kept, torch.stack(full, dim=1).numpy()


def cache_folder() -> Path:
    """Where token states are kept: in COMMLEARN_CACHE, else in the user's folder for caches."""
    base = os.environ.get("COMMLEARN_CACHE")
    if base:
        return Path(base) / "tokens"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "commlearn" / "tokens"


def _inputs(modality: Modality, device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    moved = to_device({"": modality}, device)[""]
    return moved.values, moved.padding


def _slices(modality: Modality, size: int) -> Iterator[Modality]:
    parts = [range(start, min(start + size, len(modality))) for start in range(0, len(modality), size)]
    for rows in parts:
        yield modality.apply(partial(_between, rows))


def _between(rows: range, tensor: torch.Tensor) -> torch.Tensor:
    return tensor[rows.start : rows.stop]


def _view(before: Augmentation | None, now: Any, views: int) -> str:
    """What one view of a record is, in words."""
    if views:
        return f"one of {views} kept versions, each augmented by {before}"
    if now is None:
        return "the record as it is"
    instead = "" if now is before else f", in place of {type(before).__name__}, which would need the encoder"
    return f"token dropout (up to {now.most:g} of a record's tokens){instead}"
