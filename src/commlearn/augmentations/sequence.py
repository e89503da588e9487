"""Augmentation of sequences: dropped steps, added noise and optionally a crop that is stretched."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from commlearn.augmentations.views import check_share, check_size
from commlearn.batch import Modality, Spec, has_observation_marks


@dataclass(frozen=True)
class SequenceAugmentation:
    """Crop, noise and dropped steps, with a separate draw for each record; padding is unchanged."""

    drop: float = 0.8  # largest share of a record's steps that are set to zero
    drop_probability: float = 0.5  # probability that a record loses steps
    std: float = 0.1  # standard deviation of the noise, in units of the standardised values
    noise_probability: float = 0.5  # probability that a record gets noise
    crop: float = 1.0  # smallest share that a crop keeps; it is stretched to the old length; 1 = no crop

    def __post_init__(self) -> None:
        for name in ("drop", "drop_probability", "noise_probability", "crop"):
            check_share(name, getattr(self, name))
        check_size("std", self.std)

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        values, real = modality.values, modality.real  # (batch, length, channels), (batch, length)
        batch, length = values.shape[:2]
        draw = torch.rand(batch, 5, generator=generator).to(values.device).unbind(1)
        order = torch.rand(batch, length, generator=generator).to(values.device)
        noise = torch.randn(values.shape, generator=generator).to(values)
        if self.crop < 1:
            values = _stretch(values, real.sum(dim=1), self.crop + (1 - self.crop) * draw[0], draw[1])
        if has_observation_marks(modality):  # unobserved values and marks get no noise
            marks = values[..., values.shape[2] // 2 :]
            noise = noise * torch.cat([marks, torch.zeros_like(marks)], dim=2)
        noisy = (draw[2] < self.noise_probability)[:, None, None]
        values = values + self.std * noise * noisy
        share = self.drop * draw[3] * (draw[4] < self.drop_probability)  # (batch,)
        dropped = _lowest(order.masked_fill(~real, 2.0), share * real.sum(dim=1))
        return modality.with_values(values.masked_fill((dropped | ~real)[..., None], 0.0))


def _lowest(order: Tensor, count: Tensor) -> Tensor:
    """Return a mask that is True at the floor(count) lowest entries of each row, (batch, length)."""
    rank = order.argsort(dim=1).argsort(dim=1)
    return rank < count.floor()[:, None]


def _stretch(values: Tensor, lengths: Tensor, share: Tensor, start: Tensor) -> Tensor:
    """Return a part of each sequence, with steps repeated so that it is as long as the whole."""
    steps = torch.arange(values.shape[1], device=values.device)  # (length,)
    length = share * lengths  # (batch,) steps of the part
    source = (start * (lengths - length))[:, None] + steps * share[:, None]  # (batch, length)
    source = source.long().minimum((lengths - 1).clamp(min=0)[:, None])
    return values.gather(1, source[..., None].expand_as(values))
