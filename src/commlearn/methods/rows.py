"""The input of a loss, with one row for each record, and how ranks share it.

Everything before this point concerns each record separately and can be computed in small parts, on many
devices. A loss compares records, so it needs the rows of all parts and all ranks.
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
    """Vectors of records, and which records have which modality."""

    vectors: dict[Subset, Tensor]  # (records, views, width) each
    present: dict[str, Tensor] = field(default_factory=dict)  # (records,) bool; if not named, all have it
    targets: dict[str, Tensor] = field(default_factory=dict)  # (records,) each
    progress: float = 0.0  # share of the training that is done
    groups: Tensor | None = None  # (records,): records of one group are not each other's negatives

    def apply(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """Return the same rows with `change` applied to each tensor."""
        return Rows(
            {subset: change(value) for subset, value in self.vectors.items()},
            {name: change(value) for name, value in self.present.items()},
            {name: change(value) for name, value in self.targets.items()},
            self.progress,
            None if self.groups is None else change(self.groups),
        )

    def stacked(self, subset: Subset) -> Tensor:
        """Return the vectors of one subset, view after view, (views * records, width)."""
        return self.vectors[subset].transpose(0, 1).flatten(0, 1)

    def presence_mask(self, subset: Subset) -> Tensor | None:
        """Return which records have every modality of the subset, (records,); None if all do."""
        masks = [self.present[name] for name in subset if name in self.present]
        return torch.stack(masks).all(dim=0) if masks else None

    def masks(self, subsets: Iterable[Subset]) -> dict[Subset, Tensor]:
        """Return which records have each subset, (records,) each, for the subsets that some lack."""
        masks = {subset: self.presence_mask(subset) for subset in subsets}
        return {subset: mask for subset, mask in masks.items() if mask is not None}

    def gathered(self) -> Rows:
        """Return the rows of all ranks, with gradient; `present` names only modalities that some lack."""
        if not _ranks() > 1:
            return self
        sizes = share_sizes(len(next(iter(self.vectors.values()))))
        vectors = iter(_gather_together(list(self.vectors.values()), sizes))
        others = replace(self, vectors={}).apply(lambda rows: gather(rows, sizes))
        present = {name: mask for name, mask in others.present.items() if not mask.all()}
        return replace(others, vectors={subset: next(vectors) for subset in self.vectors}, present=present)


def rows_of(batch: Batch, vectors: dict[Subset, Tensor]) -> Rows:
    """Build rows from vectors that are stacked view after view, (views * records, width).

    Args:
        batch: the batch that the vectors were computed from.
        vectors: vectors by subset of modalities.
    """
    view = batch.plain if batch.plain is not None else batch.augmented[0]
    distributed = _ranks() > 1  # another rank may have absent records, and all must exchange the same masks
    present = {name: part.presence for name, part in view.items() if distributed or part.present is not None}
    by_record = {
        subset: stacked.unflatten(0, (-1, len(batch))).transpose(0, 1) for subset, stacked in vectors.items()
    }
    return Rows(by_record, present, batch.targets, batch.progress, batch.groups)


def joined(parts: Sequence[Rows]) -> Rows:
    """Concatenate the rows of several parts of one batch."""

    def concatenate(mappings: Iterable[dict[Any, Tensor]]) -> dict[Any, Tensor]:
        dicts = list(mappings)
        return {key: torch.cat([part[key] for part in dicts]) for key in dicts[0]}

    groups = [part.groups for part in parts if part.groups is not None]
    return Rows(
        concatenate(part.vectors for part in parts),
        concatenate(part.present for part in parts),
        concatenate(part.targets for part in parts),
        parts[0].progress,
        torch.cat(groups) if groups else None,
    )


def gather(rows: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """Return the rows of all ranks, in the order of ranks, with gradient; a single rank's are unchanged.

    Args:
        rows: this rank's rows, (rows, ...); ranks may have different numbers of them.
        sizes: number of rows of each rank, if known; otherwise the ranks exchange it.
    """
    if not _ranks() > 1:
        return rows
    return _Gather.apply(rows, share_sizes(len(rows)) if sizes is None else sizes)


def _gather_together(tensors: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Gather several tensors from all ranks in one exchange, as each exchange waits for the slowest rank."""
    widths = [tensor[0].numel() for tensor in tensors]
    rows = gather(torch.cat([tensor.flatten(1) for tensor in tensors], dim=1), sizes)
    parts = rows.split(widths, dim=1)
    return [part.unflatten(1, tensor.shape[1:]) for part, tensor in zip(parts, tensors, strict=True)]


def share_sizes(size: int) -> list[int]:
    """Exchange the number of rows, and return that of each rank."""
    backend = dist.get_backend()
    device = "cuda" if backend == "nccl" else "cpu"
    sizes = torch.zeros(_ranks(), dtype=torch.int64, device=device)
    sizes[dist.get_rank()] = size
    dist.all_reduce(sizes)
    return sizes.tolist()


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Gather(Function):
    """Gathers rows; its gradient needs no exchange, as every rank computes the same loss from all rows.

    The engine averages the ranks' gradients of the weights, and each rank contributes only the part of its
    own rows. So the gradient of a row is multiplied by the number of ranks.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded)
        return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        local = gradients[0].split(ctx.sizes)[dist.get_rank()]
        return local * len(ctx.sizes), None
