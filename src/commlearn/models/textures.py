"""Texture energies, the strength of small patterns in a picture (Laws, 1980); they need no learning."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 5  # side of a pattern in pixels
PATTERNS = SIDE * SIDE
LEAST = 1e-3  # lower limit of an energy before its logarithm is taken


def texture_energies(images: Tensor, patterns: Tensor) -> Tensor:
    """Return the log energy of each pattern over the whole picture, (batch, patterns).

    Pictures are uint8 in 0..255 or floats in 0..1. Brightness and contrast have almost no effect.

    Example:
        >>> stripes = torch.zeros(1, 3, 16, 16)
        >>> stripes[:, :, ::2] = 1.0
        >>> lying, standing = (texture_energies(image, waves(SIDE)) for image in (stripes, stripes.mT))
        >>> bool((lying - standing).abs().max() > 3)
        True
    """
    values = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    grey = StandardImage()((values.nan_to_num() - 0.5) / 0.25).mean(dim=1, keepdim=True)
    height, width = (max(0, SIDE - side) for side in grey.shape[2:])  # pixels that a small picture lacks
    responses = F.conv2d(F.pad(grey, (0, width, 0, height)), patterns[:, None])  # (batch, patterns, ...)
    energies = torch.linalg.vector_norm(responses, dim=(2, 3)) / responses[0, 0].numel() ** 0.5
    return energies.clamp(min=LEAST).log()


class TextureEnergies(nn.Module):
    """Texture energies of all waves of five pixels, (batch, 25)."""

    patterns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("patterns", waves(SIDE), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return texture_energies(images, self.patterns)


class StandardImage(nn.Module):
    """Subtracts each image's mean colour and divides by the image's spread around it."""

    def __init__(self, least: float = 0.2) -> None:
        super().__init__()
        self.least = least  # added to the spread, so that an empty image stays empty

    def forward(self, images: Tensor) -> Tensor:  # (batch, channels, height, width)
        deviation = images - images.mean(dim=(2, 3), keepdim=True)
        spread = deviation.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return deviation / (spread + self.least)


def waves(size: int) -> Tensor:
    """Return unit-norm 2-D cosines of every frequency pair, coarse to fine, (size * size, size, size)."""
    positions = (torch.arange(size) + 0.5) * math.pi / size
    cosines = torch.cos(torch.arange(size)[:, None] * positions)  # (frequency, position)
    pairs = torch.einsum("fi,gj->fgij", cosines, cosines).flatten(0, 1)
    total = torch.arange(size)[:, None] + torch.arange(size)  # sum of both frequencies
    pairs = pairs[total.flatten().sort(stable=True).indices]
    return pairs / pairs.norm(dim=(1, 2), keepdim=True)
