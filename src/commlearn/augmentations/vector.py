"""Augmentations of vectors that ask nothing of their meaning."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from commlearn.batch import Modality, Spec
from commlearn.errors import ConfigurationError

__all__ = ["Corruption", "Noise"]


@dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise."""

    std: float = 0.1  # in units of the values, which are standardised

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        noise = torch.randn(modality.values.shape, generator=generator).to(modality.values)
        return modality.with_values(modality.values + self.std * noise)


@dataclass(frozen=True)
class Corruption:
    """SCARF: some numbers of a record are replaced by those of other records of the batch."""

    share: float = 0.3  # probability of a number to be replaced

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigurationError(f"scarf: share is {self.share}; give a probability from 0 to 1.")

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        values = modality.values  # (batch, features)
        replaced = torch.rand(values.shape, generator=generator) < self.share
        draw = torch.rand(values.shape, generator=generator)
        there = torch.arange(len(values))
        if modality.present is not None and modality.present.any():  # absent records have no numbers to give
            there = modality.present.cpu().nonzero()[:, 0]
        givers = there[(draw * len(there)).long()].to(values.device)  # (batch, features)
        return modality.with_values(torch.where(replaced.to(values.device), values.gather(0, givers), values))
