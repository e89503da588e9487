"""Augmentations of series, which lose steps, and of texts and token states, which are masked or left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        rank = order.masked_fill(~real, 2.0).argsort(dim=1).argsort(dim=1)
        dropped = rank < (share * real.sum(dim=1)).floor()[:, None]  # (batch, length)
        return modality.with_values(values.masked_fill((dropped | ~real)[..., None], 0.0))


def _stretch(values: Tensor, lengths: Tensor, share: Tensor, start: Tensor) -> Tensor:
    """Return a part of each sequence, with steps repeated so that it is as long as the whole."""
    steps = torch.arange(values.shape[1], device=values.device)  # (length,)
    length = share * lengths  # (batch,) steps of the part
    source = (start * (lengths - length))[:, None] + steps * share[:, None]  # (batch, length)
    source = source.long().minimum((lengths - 1).clamp(min=0)[:, None])
    return values.gather(1, source[..., None].expand_as(values))


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
        protected = draw[1].masked_fill(~words, -1).argmax(dim=1, keepdim=True)  # the largest draw stays
        return replace(modality, values=values, padding=dropped.scatter(1, protected, False) | padding)


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
