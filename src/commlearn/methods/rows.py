"""What a loss needs of a batch, one row for each record, and how ranks share it.

Everything up to here concerns each record on its own: it can be computed in small parts, on many
devices. A loss compares records, so it sees the rows of all parts and of all ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

from commlearn.batch import Batch, Subset


@dataclass(frozen=True)
class Rows:
    """Vectors of records, and which records have what."""

    vectors: dict[Subset, Tensor]  # (records, views, width) each
    present: dict[str, Tensor] = field(default_factory=dict)  # (records,) bool; unnamed: all records have it
    targets: dict[str, Tensor] = field(default_factory=dict)  # (records,) each
    progress: float = 0.0  # share of the training that is done
    groups: Tensor | None = None  # (records,): those of one group are not each other's negatives

    def apply(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """The same rows with `change` applied to each tensor."""
        return Rows(
            {subset: change(value) for subset, value in self.vectors.items()},
            {name: change(value) for name, value in self.present.items()},
            {name: change(value) for name, value in self.targets.items()},
            self.progress,
            None if self.groups is None else change(self.groups),
        )

    def stacked(self, subset: Subset) -> Tensor:
        """The vectors of one subset view by view, (views * records, width)."""
        return self.vectors[subset].transpose(0, 1).flatten(0, 1)

    def having(self, subset: Subset) -> Tensor | None:
        """Which records have every modality of the subset, (records,); None if all do."""
        masks = [self.present[name] for name in subset if name in self.present]
        return torch.stack(masks).all(dim=0) if masks else None

    def masks(self, subsets: Iterable[Subset]) -> dict[Subset, Tensor]:
        """Which records have a subset, (records,) each, of the subsets that some lack."""
        masks = {subset: self.having(subset) for subset in subsets}
        return {subset: mask for subset, mask in masks.items() if mask is not None}

    def groups_of(self, having: Tensor | None) -> Tensor | None:
        """The groups of these records, or of all if none are chosen; None where nothing names groups."""
        return self.groups if self.groups is None or having is None else self.groups[having]

    def gathered(self) -> Rows:
        """The rows of all ranks, with gradient; a modality that none of the records lacks is not named."""
        if not _ranks() > 1:
            return self
        sizes = share_sizes(len(next(iter(self.vectors.values()))))
        together = iter(_gather_together(list(self.vectors.values()), sizes))
        others = replace(self, vectors={}).apply(lambda rows: gather(rows, sizes))
        present = {name: mask for name, mask in others.present.items() if not mask.all()}
        return replace(others, vectors={subset: next(together) for subset in self.vectors}, present=present)


def rows_of(batch: Batch, vectors: dict[Subset, Tensor]) -> Rows:
    """Rows from vectors that are stacked view by view, (views * records, width).

    Args:
        batch: what they were computed from.
        vectors: by subset of modalities.
    """
    view = batch.plain if batch.plain is not None else batch.augmented[0]
    every = _ranks() > 1  # of which one may lack nothing where another does; all exchange the same
    present = {name: part.there for name, part in view.items() if every or part.present is not None}
    by_record = {
        subset: stacked.unflatten(0, (-1, len(batch))).transpose(0, 1) for subset, stacked in vectors.items()
    }
    return Rows(by_record, present, batch.targets, batch.progress, batch.groups)


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several parts of one batch."""

    def together(each: Iterable[dict[Any, Tensor]]) -> dict[Any, Tensor]:
        dicts = list(each)
        return {key: torch.cat([part[key] for part in dicts]) for key in dicts[0]}

    groups = [part.groups for part in parts if part.groups is not None]
    return Rows(
        together(part.vectors for part in parts),
        together(part.present for part in parts),
        together(part.targets for part in parts),
        parts[0].progress,
        torch.cat(groups) if groups else None,
    )


def gather(rows: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """The rows of all ranks, in the order of ranks, with gradient; the rows themselves if there is one.

    Args:
        rows: this rank's, (rows, ...); ranks may differ in their number.
        sizes: how many rows each rank has, if that is known; else the ranks tell each other.
    """
    if not _ranks() > 1:
        return rows
    return _Gather.apply(rows, share_sizes(len(rows)) if sizes is None else sizes)


def _gather_together(tensors: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """The rows of all ranks of several tensors in one exchange: every exchange waits for the slowest."""
    widths = [tensor[0].numel() for tensor in tensors]
    rows = gather(torch.cat([tensor.flatten(1) for tensor in tensors], dim=1), sizes)
    parts = rows.split(widths, dim=1)
    return [part.unflatten(1, tensor.shape[1:]) for part, tensor in zip(parts, tensors, strict=True)]


def share_sizes(size: int) -> list[int]:
    """How many rows each rank has."""
    backend = dist.get_backend()
    device = "cuda" if backend == "nccl" else "cpu"
    sizes = torch.zeros(_ranks(), dtype=torch.int64, device=device)
    sizes[dist.get_rank()] = size
    dist.all_reduce(sizes)
    return sizes.tolist()


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Gather(Function):
    """Every rank computes the same of all rows, so it knows the gradient of its own rows without an exchange.

    The engine takes the mean of the ranks' gradients of the weights, where each has its own rows' part alone:
    so a row counts once for every rank.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        everyone = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(everyone, padded)
        return torch.cat([part[:size] for part, size in zip(everyone, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        mine = gradients[0].split(ctx.sizes)[dist.get_rank()]
        return mine * len(ctx.sizes), None
