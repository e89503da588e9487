"""Embeddings of records: one function for every method and any subset of modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from commlearn.data.batch import to_device
from commlearn.data.records import Records
from commlearn.methods.base import Method

__all__ = ["embed"]


class HasMethod(Protocol):
    """A trained run, or anything else that carries a method."""

    @property
    def method(self) -> Method: ...


@torch.inference_mode()
def embed(
    model: Method | HasMethod,
    records: Records,
    modalities: Sequence[str] | None = None,
    batch_size: int = 256,
) -> np.ndarray:
    """Embeddings of clean (not augmented) records, (records, dim) float32.

    Args:
        model: a method, or a run that holds one.
        records: what to embed.
        modalities: which of them to use; all that were trained if not given.
        batch_size: records at a time; it does not change the result beyond rounding.
    """
    method = model if isinstance(model, Method) else model.method
    device = next(method.parameters()).device
    training, names = method.training, modalities or method.modalities
    method.eval()
    try:
        parts = []
        for start in range(0, len(records), batch_size):
            rows = slice(start, start + batch_size)
            view = records.view(rows, [name for name in names if name in records.columns])
            parts.append(method.embed(to_device(view, device), modalities).float().cpu().numpy())
    finally:
        method.train(training)
    return np.concatenate(parts)
