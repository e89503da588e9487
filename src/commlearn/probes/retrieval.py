"""Retrieval across modalities, such as finding a record's image among all others by its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, singledispatch
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from commlearn.batch import Subset, View, to_device
from commlearn.errors import ConfigurationError, DataError, DivergedError, unknown
from commlearn.methods import CLIP, CMC, METHODS, CoMM, COrAL, CrossSelf, Method, SupCon
from commlearn.methods.base import absent_as_zero, pooled
from commlearn.probes.measures import SHARE, accuracy, measured
from commlearn.probes.nearest import unit
from commlearn.records import Records, presence
from commlearn.trained.embed import Blocks, embed, evaluating, features_of, method_of

BLOCK = 1024  # queries processed at once
TOP = (1, 5, 10)
FEATURES = 2.0  # length of the fixed features relative to the loss's vector; chosen on training rows


@dataclass(frozen=True)
class RetrievalResult:
    """How often some of a record's modalities find its other ones among those of all records."""

    recall: dict[int, float]  # k to the share of records that are among the k most similar
    intervals: dict[int, tuple[float, float]]  # 95 % intervals by bootstrap over records or their groups
    median_rank: float  # 1 = found first
    records: int

    def __str__(self) -> str:
        recalls = ", ".join(f"recall@{k} {100 * share:.1f} %" for k, share in self.recall.items())
        chance = ", ".join(f"{100 * k / self.records:.1f}" for k in self.recall)
        return f"{recalls} (chance {chance} %), median rank {self.median_rank:.0f} of {self.records}"


def retrieval(
    model: Any,
    records: Records,
    query: Sequence[str],
    gallery: Sequence[str],
    top: Sequence[int] = TOP,
    seed: int = 0,
    blocks: Blocks = "all",
) -> RetrievalResult:
    """Find each record's `gallery` modalities by its `query` modalities, as `similar` does.

    Args:
        model: a trained run, or a method.
        records: records to search; only those that have all of the modalities take part.
        query: names of modalities, such as `["text"]`.
        gallery: names of modalities, such as `["image"]`.
        top: values of k to report recall at.
        seed: seed of the bootstrap.
        blocks: `learned` compares in the space of the loss, `features` compares the fixed features of each
            side and their prediction of the other side's, `all` does both.
    """
    names = _checked(method_of(model), records, query, gallery)
    complete = np.all([presence(records.columns[name]) for name in names], axis=0)
    rows = np.flatnonzero(complete)
    if len(rows) < 2:
        raise DataError(f"Retrieval needs at least 2 records with {', '.join(names)}; there are {len(rows)}.")
    chosen = records.choose(rows)
    rank_of_each = ranks(*(comparable_vectors(model, chosen, side, blocks) for side in (query, gallery)))
    parts = {str(k): partial(accuracy, rank_of_each <= k) for k in top if k <= len(rows)}
    groups = None if records.resampled is None else records.resampled[rows]
    recalls = measured(parts, np.zeros(len(rows), dtype=np.int64), seed, groups, SHARE)
    return RetrievalResult(
        recall={int(k): value for k, (value, _) in recalls.items()},
        intervals={int(k): interval for k, (_, interval) in recalls.items()},
        median_rank=float(np.median(rank_of_each)),
        records=len(rows),
    )


def _checked(
    method: Method, records: Records, query: Sequence[str], gallery: Sequence[str]
) -> tuple[str, ...]:
    """Return the modalities of both sides, checked; one on both sides would make each record find itself."""
    names = (*query, *gallery)
    if not query or not gallery:
        raise ConfigurationError("One side of the retrieval has no modality; name one or more on each side.")
    for name in names:
        available = [modality for modality in method.modalities if modality in records.columns]
        if name not in available:
            raise ConfigurationError(unknown("modality", name, available))
        if names.count(name) > 1:
            raise ConfigurationError(f"Modality '{name}' is named twice; name each only once, on one side.")
    return names


def ranks(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return the rank by cosine of each query's own row in the gallery, 1 = most similar; ties count half.

    Example:
        >>> ranks(np.eye(3), np.eye(3)).tolist()
        [1.0, 1.0, 1.0]
    """
    with threadpool_limits(limits=1):
        queries, gallery = unit(queries), unit(gallery)
        parts = []
        for start in range(0, len(queries), BLOCK):
            similar = queries[start : start + BLOCK] @ gallery.T  # (block, records)
            correct = similar[np.arange(len(similar)), np.arange(start, start + len(similar))][:, None]
            parts.append(1 + (similar > correct).sum(axis=1) + ((similar == correct).sum(axis=1) - 1) / 2)
    return np.concatenate(parts)


@singledispatch
def comparable(method: Any, view: View, subset: Subset) -> Tensor:
    """Return a subset's vectors in the space where the method compares subsets, (batch, dim)."""
    refuse = comparable.dispatch(object)
    others = [name for name, other in METHODS.items() if comparable.dispatch(other) is not refuse]
    raise ConfigurationError(
        f"{type(method).__name__} does not embed subsets of modalities in one space, so one cannot "
        f"retrieve another. Methods that do: {', '.join(others)}. With any method, fixed features can be "
        "compared: blocks='features'."
    )


@comparable.register
def _projected(method: CLIP | CrossSelf | CMC, view: View, subset: Subset) -> Tensor:
    """Return the mean projection over the modalities that a record has, (batch, dim)."""
    heads = method.projectors if isinstance(method, CLIP) else method.heads
    projected = {name: heads[name](rows) for name, rows in pooled(method, view, subset).items()}
    present = {
        name: absent_as_zero(torch.ones_like(projected[name][:, :1]), view[name]) for name in projected
    }
    total = torch.stack([projected[name] * present[name] for name in projected]).sum(dim=0)
    return total / torch.stack(list(present.values())).sum(dim=0).clamp(min=1)


@comparable.register
def _comm(method: CoMM, view: View, subset: Subset) -> Tensor:
    return method.head(method.fuse(view, subset))


for aligned in (COrAL, SupCon):  # their loss aligns only views of all modalities
    comparable.register(aligned, comparable.dispatch(object))


@torch.inference_mode()
def comparable_vectors(
    model: Any, records: Records, names: Sequence[str], blocks: Blocks = "all"
) -> np.ndarray:
    """Return vectors of some modalities, (records, dim), comparable by cosine with those of others."""
    parts = []
    if blocks != "features":
        parts.append(unit(_in_the_space_of_the_loss(method_of(model), records, names)))
    if features_of(model, blocks) is not None:
        parts.append(FEATURES * unit(embed(model, records, names, blocks="features")))
    vectors = np.concatenate(parts, axis=1)
    if not np.isfinite(vectors).all():
        raise DivergedError("The vectors of some records are not finite, so they cannot be searched.")
    return vectors


def _in_the_space_of_the_loss(method: Method, records: Records, names: Sequence[str]) -> np.ndarray:
    device, parts = next(method.parameters()).device, []
    with evaluating(method):
        for start in range(0, len(records), 256):
            rows = np.arange(start, min(start + 256, len(records)))
            view = to_device(records.view(rows, names), device)
            parts.append(comparable(method, view, method.subset(names, view)).float().cpu().numpy())
    return np.concatenate(parts)
