"""Augmentation of vectors and of tables of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from commlearn.batch import Modality, Spec


@dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise."""

    std: float = 0.1  # in units of the values, which are standardised

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        noise = torch.randn(modality.values.shape, generator=generator).to(modality.values)
        return modality.with_values(modality.values + self.std * noise)
