"""Augmentations of tables with missing cells and categories, and of raw vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from commlearn.augmentations.views import check_share, check_size
from commlearn.batch import Modality, Spec

MISSING = 0.0  # the code of a cell without a category


@dataclass(frozen=True)
class TabularAugmentation:
    """Adds noise to numbers and makes some cells missing; at least one known cell of a record stays."""

    std: float = 0.1  # standard deviation of the noise, in units of the standardised numbers
    mask: float = 0.2  # probability that a cell becomes missing

    def __post_init__(self) -> None:
        check_share("mask", self.mask, whole=False)
        check_size("std", self.std)

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        cells = modality.values  # (batch, columns): numbers or NaN, then codes of categories
        draw = torch.rand(cells.shape, generator=generator).to(cells.device)
        count = cells.shape[1] if spec is None else spec.shape[0]
        noise = torch.randn(len(cells), count, generator=generator).to(cells)
        numbers, codes = cells[:, :count] + self.std * noise, cells[:, count:]
        observed = torch.cat([~numbers.isnan(), codes != MISSING], dim=1)
        protected = draw.masked_fill(~observed, -1.0).argmax(dim=1, keepdim=True)  # (batch, 1)
        masked = (draw < self.mask).scatter(1, protected, False)
        numbers = numbers.masked_fill(masked[:, :count], torch.nan)
        codes = codes.masked_fill(masked[:, count:], MISSING)
        return modality.with_values(torch.cat([numbers, codes], dim=1))


@dataclass(frozen=True)
class VectorAugmentation:
    """Adds noise and sets some features to zero, which is their mean, or to another record's value (SCARF).

    At least one feature of a record stays.
    """

    std: float = 0.1  # standard deviation of the noise, in units of the standardised values
    drop: float = 0.2  # probability that a feature is set to zero
    swap: float = 0.0  # probability that a feature is taken from another record of the batch

    def __post_init__(self) -> None:
        check_share("drop", self.drop, whole=False)
        check_share("swap", self.swap, whole=False)
        check_size("std", self.std)

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        values = modality.values  # (batch, features)
        draw = torch.rand(values.shape, generator=generator).to(values.device)
        noise = torch.randn(values.shape, generator=generator).to(values)
        protected = draw.argmax(dim=1, keepdim=True)
        changed = values
        if self.swap:
            swapped = torch.rand(values.shape, generator=generator).to(values.device) < self.swap
            others = _draw_others(modality, generator)  # (batch, features)
            changed = torch.where(swapped.scatter(1, protected, False), values.gather(0, others), values)
        dropped = (draw < self.drop).scatter(1, protected, False)
        return modality.with_values((changed + self.std * noise).masked_fill(dropped, 0.0))


def _draw_others(modality: Modality, generator: torch.Generator) -> torch.Tensor:
    """Draw for each cell a record of the batch that has the modality, (batch, features)."""
    draw = torch.rand(modality.values.shape, generator=generator).to(modality.values.device)
    present = modality.present
    pool = torch.arange(len(draw), device=draw.device) if present is None else present.nonzero()[:, 0]
    return pool[(draw * len(pool)).long()] if len(pool) else torch.zeros_like(draw, dtype=torch.long)


@dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise."""

    std: float = 0.1  # in units of the standardised values

    def __post_init__(self) -> None:
        check_size("std", self.std)

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        noise = torch.randn(modality.values.shape, generator=generator).to(modality.values)
        return modality.with_values(modality.values + self.std * noise)
