"""Augmentation of token states that were computed before: leave tokens out, or choose a version."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from commlearn.batch import Modality, Spec
from commlearn.errors import ConfigurationError


@dataclass(frozen=True)
class TokenDropout:
    """Leaves tokens out, of each record a share of its own, drawn from 0 to `most`; one stays at least."""

    most: float = 0.8  # largest share of a record's tokens that is left out

    def __post_init__(self) -> None:
        if not 0 <= self.most <= 1:
            raise ConfigurationError(f"token_dropout: most is {self.most}; give a share from 0 to 1.")

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        batch, length = modality.values.shape[:2]
        share = torch.rand(batch, 1, generator=generator) * self.most
        draw = torch.rand(batch, length, generator=generator)
        share, draw = share.to(modality.values.device), draw.to(modality.values.device)
        real = torch.ones_like(draw, dtype=torch.bool) if modality.padding is None else ~modality.padding
        draw = draw.masked_fill(~real, -1.0)
        stays = (draw >= share) | (draw == draw.amax(dim=1, keepdim=True))
        return replace(modality, padding=~(stays & real))


@dataclass(frozen=True)
class TokenVersion:
    """Chooses one of a record's augmented versions that were kept; the first is the record as it is."""

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        batch, versions = modality.values.shape[:2]
        chosen = torch.randint(1, versions, (batch,), generator=generator).to(modality.values.device)
        rows = torch.arange(batch, device=chosen.device)
        padding = None if modality.padding is None else modality.padding[rows, chosen]
        return Modality(modality.values[rows, chosen], padding, modality.present)
