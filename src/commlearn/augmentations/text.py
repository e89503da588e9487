"""Augmentation of text: some tokens are masked, some are left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from commlearn.data.batch import Modality
from commlearn.data.records import Spec

__all__ = ["TextAugmentation"]

MASK = 1  # the id that stands for a hidden token


@dataclass(frozen=True)
class TextAugmentation:
    """Masks tokens and leaves tokens out, each record with its own draw; padding stays as it is."""

    mask: float = 0.15  # probability of each token
    dropout: float = 0.0  # probability of each token to be left out; at least one token stays

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        ids, padding = modality.values, modality.padding  # (batch, length) both
        draw = torch.rand((2, *ids.shape), generator=generator).to(ids.device)
        real = torch.ones_like(ids, dtype=torch.bool) if padding is None else ~padding
        values = ids.masked_fill((draw[0] < self.mask) & real, MASK)
        if not self.dropout:
            return modality.with_values(values)
        left_out = (draw[1] < self.dropout) & real
        stays = (draw[1].masked_fill(~real, -1).argmax(dim=1, keepdim=True), torch.arange(ids.shape[1]))
        left_out &= stays[1].to(ids.device) != stays[0]  # the token of the largest draw
        return replace(modality, values=values, padding=left_out | ~real)
