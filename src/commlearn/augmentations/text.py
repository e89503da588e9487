"""Augmentations of text and of precomputed token states: some are masked, some left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from commlearn.augmentations.views import check_share
from commlearn.batch import Modality, Spec

MASK = 1  # the id that stands for a hidden token


@dataclass(frozen=True)
class TextAugmentation:
    """Masks tokens and leaves tokens out, with a separate draw for each record; padding is unchanged.

    With a pretrained tokenizer, ids that are not part of the text are kept. If it has no mask id, tokens
    that would be masked are left out instead.
    """

    mask: float = 0.15  # probability that a token is masked
    dropout: float = 0.0  # probability that a token is left out; at least one token stays

    def __post_init__(self) -> None:
        check_share("mask", self.mask)
        check_share("dropout", self.dropout)

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        ids = modality.values  # (batch, length)
        draw = torch.rand((2, *ids.shape), generator=generator).to(ids.device)
        padding = ~modality.real
        mask_id, *special = spec.shape[1:] if spec is not None and len(spec.shape) > 1 else (MASK,)
        words = ~padding & ~torch.isin(ids, torch.tensor(special, device=ids.device)) if special else ~padding
        masked, dropped = (draw[0] < self.mask) & words, (draw[1] < self.dropout) & words
        if mask_id < 0:
            masked, dropped = torch.zeros_like(masked), dropped | masked
        values = ids.masked_fill(masked, max(mask_id, 0))
        if not self.dropout and mask_id >= 0:
            return modality.with_values(values)
        protected = (
            draw[1].masked_fill(~words, -1).argmax(dim=1, keepdim=True)
        )  # the token with the largest draw stays
        dropped = dropped.scatter(1, protected, False)
        return replace(modality, values=values, padding=dropped | padding)


@dataclass(frozen=True)
class TokenDropout:
    """Leaves out tokens, for each record a share drawn from 0 to `most`; at least one stays."""

    most: float = 0.8  # largest share of a record's tokens that is left out

    def __post_init__(self) -> None:
        check_share("token_dropout: most", self.most)

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        batch, length = modality.values.shape[:2]
        share = torch.rand(batch, 1, generator=generator) * self.most
        draw = torch.rand(batch, length, generator=generator)
        share, draw = share.to(modality.values.device), draw.to(modality.values.device)
        real = modality.real
        draw = draw.masked_fill(~real, -1.0)
        remaining = (draw >= share) | (draw == draw.amax(dim=1, keepdim=True))
        return replace(modality, padding=~(remaining & real))


@dataclass(frozen=True)
class TokenVersion:
    """Chooses one of a record's stored augmented versions; never the first, which is the record as it is."""

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        batch, versions = modality.values.shape[:2]
        version = torch.randint(1, versions, (batch,), generator=generator).to(modality.values.device)
        rows = torch.arange(batch, device=version.device)
        padding = None if modality.padding is None else modality.padding[rows, version]
        return Modality(modality.values[rows, version], padding, modality.present)
