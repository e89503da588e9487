"""Features of pictures: pixels, edges, colours, textures, typical patches, and the outputs of a network.

Texture energies are the strength of small patterns in a picture (Laws, 1980); they need no learning. Typical
patches (Coates and Ng, 2012) are those of training rows, normalised to the same mean and contrast, whitened,
and grouped by spherical k-means. Features say how much each quarter of a picture shows of each group and of
its negative. They are computed with one convolution.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.batch import Modality
from commlearn.models.features.networks import EFFICIENTNET
from commlearn.models.features.raw import Raw, Sample
from commlearn.seeds import torch_generator

PATTERN_SIDE = 5  # side of a pattern in pixels
PATTERNS = PATTERN_SIDE * PATTERN_SIDE
LEAST_ENERGY = 1e-3  # lower limit of an energy before its logarithm is taken


def texture_energies(images: Tensor, patterns: Tensor) -> Tensor:
    """Return the log energy of each pattern over the whole picture, (batch, patterns).

    Pictures are uint8 in 0..255 or floats in 0..1. Brightness and contrast have almost no effect.

    Example:
        >>> stripes = torch.zeros(1, 3, 16, 16)
        >>> stripes[:, :, ::2] = 1.0
        >>> lying, standing = (texture_energies(image, waves(5)) for image in (stripes, stripes.mT))
        >>> bool((lying - standing).abs().max() > 3)
        True
    """
    values = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    grey = StandardImage()((values.nan_to_num() - 0.5) / 0.25).mean(dim=1, keepdim=True)
    height, width = (max(0, PATTERN_SIDE - side) for side in grey.shape[2:])  # that a small picture lacks
    responses = F.conv2d(F.pad(grey, (0, width, 0, height)), patterns[:, None])  # (batch, patterns, ...)
    energies = torch.linalg.vector_norm(responses, dim=(2, 3)) / responses[0, 0].numel() ** 0.5
    return energies.clamp(min=LEAST_ENERGY).log()


class TextureEnergies(nn.Module):
    """Texture energies of all waves of five pixels, (batch, 25)."""

    patterns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("patterns", waves(PATTERN_SIDE), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return texture_energies(images, self.patterns)


class StandardImage(nn.Module):
    """Subtracts each image's mean colour and divides by the image's spread around it."""

    def forward(self, images: Tensor) -> Tensor:  # (batch, channels, height, width)
        deviation = images - images.mean(dim=(2, 3), keepdim=True)
        spread = deviation.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return deviation / (spread + 0.2)  # so that an empty image stays empty


def waves(size: int) -> Tensor:
    """Return unit-norm 2-D cosines of every frequency pair, coarse to fine, (size * size, size, size)."""
    positions = (torch.arange(size) + 0.5) * math.pi / size
    cosines = torch.cos(torch.arange(size)[:, None] * positions)  # (frequency, position)
    pairs = torch.einsum("fi,gj->fgij", cosines, cosines).flatten(0, 1)
    total = torch.arange(size)[:, None] + torch.arange(size)  # sum of both frequencies
    pairs = pairs[total.flatten().sort(stable=True).indices]
    return pairs / pairs.norm(dim=(1, 2), keepdim=True)


# in pixels: a patch's side, the step between patches, a picture's side
PATCH_SIDE, STRIDE, LARGEST = 6, 2, 32
GROUPS = 128
PATCHES, ROUNDS = 20_000, 12  # most patches to make groups from, and rounds of k-means
CONTRAST = 1e-3  # added to the variance of a patch, so that flat ones stay flat
NOISE = 0.01  # added to the variances that whitening divides by
LEAST_LIKENESS = 1.0  # likeness below which a patch does not count towards a group


def _reduced(modality: Modality, largest: int) -> Tensor:
    """Return pictures in 0..1 with sides of at most `largest` pixels, (batch, channels, height, width)."""
    values = modality.values.float().nan_to_num() / 255
    height, width = (min(side, largest) for side in values.shape[-2:])
    return F.adaptive_avg_pool2d(values, (height, width))


def typical_patches(sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
    """Return each group's kernel, (groups, channels, side, side), and the offset to subtract, (groups,)."""
    generator = torch_generator(seed, "patches")
    per_record = max(1, PATCHES // len(sample))
    samples = []
    for part in sample:
        pictures = _reduced(part, LARGEST)
        centre, contrast = (values.flatten(1)[..., None] for values in _moments(pictures))
        patches = F.unfold(pictures, PATCH_SIDE, stride=STRIDE).transpose(1, 2)  # (batch, positions, numbers)
        positions = torch.randint(patches.shape[1], (len(patches), per_record), generator=generator)
        patches = ((patches - centre) / contrast).cpu()
        samples.append(patches.gather(1, positions[..., None].expand(-1, -1, patches.shape[2])).flatten(0, 1))
    patches = torch.cat(samples)[:PATCHES].double()
    mean = patches.mean(dim=0)
    patches = patches - mean
    variances, axes = torch.linalg.eigh(patches.T @ patches / len(patches))
    whiten = axes @ torch.diag((variances.clamp(min=0) + NOISE).rsqrt()) @ axes.T
    patches = patches @ whiten
    start = torch.randn(GROUPS, patches.shape[1], generator=generator, dtype=torch.float64)
    centres = F.normalize(start, dim=1)
    for _ in range(ROUNDS):
        nearest = (patches @ centres.T).abs().argmax(dim=1)
        signed = (patches * centres[nearest]).sum(dim=1, keepdim=True)
        updated = (1e-3 * centres).index_add(0, nearest, signed * patches)  # an empty group does not move
        centres = F.normalize(updated, dim=1)
    kernels = centres @ whiten
    shape = (GROUPS, -1, PATCH_SIDE, PATCH_SIDE)
    return kernels.float().view(shape), (kernels @ mean).float()


def shown_patches(modality: Modality, kernels: Tensor, offset: Tensor) -> Tensor:
    """Return how much each quarter of a picture shows of each group and its negative, (batch, 8 x groups)."""
    pictures = _reduced(modality, LARGEST)
    centre, contrast = _moments(pictures)
    sums = kernels.sum(dim=(1, 2, 3)).view(1, -1, 1, 1)
    likeness = (F.conv2d(pictures, kernels, stride=STRIDE) - centre * sums) / contrast
    likeness = likeness - offset.view(1, -1, 1, 1)
    shown = [(sign * likeness - LEAST_LIKENESS).clamp(min=0) for sign in (1, -1)]
    responses = [F.adaptive_avg_pool2d(part, 2) for part in shown]
    return torch.cat(responses, dim=1).flatten(1).sqrt()


def _moments(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and contrast of every patch, over all channels, (batch, 1, rows, columns)."""
    centre = F.avg_pool2d(pictures.mean(dim=1, keepdim=True), PATCH_SIDE, STRIDE)
    squares = F.avg_pool2d(pictures.square().mean(dim=1, keepdim=True), PATCH_SIDE, STRIDE)
    return centre, ((squares - centre.square()).clamp(min=0) + CONTRAST).sqrt()


# side in pixels that the network sees; 96 takes half the time, and is up to 2 points worse
NETWORK_SIDE = 128
SMALLEST = 16  # smallest side in pixels of a picture that the network reads


class Pixels(Raw):
    """Pixels averaged over a grid, directions of edges (as in HOG), colours and textures.

    If the weights of EfficientNet-lite0 are installed, its outputs for colour pictures are included;
    otherwise, how much a picture shows of the patches that are typical of training rows.
    """

    own = "pixels, directions of edges, colours"
    instead = "patches that are typical of training rows"
    optional = ("kernels", "offset", "patterns")
    largest = 64  # side in pixels to which larger pictures are reduced
    directions = 8
    levels = 8  # levels per channel
    softness = 0.5
    patterns: Tensor  # (patterns, side, side): their energies describe textures
    kernels: Tensor  # (groups of patches, channels, side, side)
    offset: Tensor  # (groups,)

    def learn(self, sample: Sample, seed: int) -> None:
        self.store(patterns=waves(PATTERN_SIDE))
        if not self.uses_network and min(self.spec.shape[1:]) >= PATCH_SIDE:
            kernels, offset = typical_patches(sample, seed)
            self.store(kernels=kernels, offset=offset)

    @property
    def described(self) -> str:
        return f"{self.own}, textures" if self.holds("patterns") else self.own

    def network_reads(self, sample: Sample) -> bool:
        channels, *sides = self.spec.shape
        return channels == 3 and min(sides) >= SMALLEST

    def forward(self, modality: Modality) -> list[Tensor]:
        values = _reduced(modality, self.largest)  # (batch, channels, height, width)
        grey = values.mean(dim=1, keepdim=True)
        cells = [F.adaptive_avg_pool2d(values, 8).flatten(1), F.adaptive_avg_pool2d(grey, 16).flatten(1)]
        groups = [torch.cat(cells, dim=1), self._edges(values), self._colours(values)]
        if self.holds("kernels"):
            groups.append(shown_patches(modality, self.kernels, self.offset))
        if self.holds("patterns"):
            groups.append(texture_energies(modality.values, self.patterns))
        if not self.uses_network:
            return groups
        pixels = modality.values.float().nan_to_num()
        pixels = F.interpolate(pixels, size=(NETWORK_SIDE, NETWORK_SIDE), mode="bilinear", antialias=True)
        outputs = EFFICIENTNET.outputs(list(pixels.cpu()), modality.values.device)
        return [torch.cat(groups, dim=1), *outputs.chunk(2, dim=1)]  # two groups count twice as much as one

    def _edges(self, values: Tensor) -> Tensor:
        """Measure edge strength by direction, in grids of 8 x 8 and 4 x 4 cells and in the whole image."""
        padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
        dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]  # (batch, channels, height, width)
        dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        channel = (dx.square() + dy.square()).argmax(dim=1, keepdim=True)  # the channel that changes most
        dx, dy = dx.gather(1, channel), dy.gather(1, channel)  # (batch, 1, height, width)
        direction = torch.atan2(dy, dx).remainder(torch.pi) / torch.pi * self.directions
        centres = torch.arange(self.directions, device=values.device).view(1, -1, 1, 1)
        delta = (direction - centres).abs()
        delta = torch.minimum(delta, self.directions - delta)  # the last direction is next to the first
        edges = (1 - delta).clamp(min=0) * (dx.square() + dy.square()).sqrt()  # (batch, bins, height, width)
        cells = [F.adaptive_avg_pool2d(edges, side).flatten(1) for side in (8, 4, 1)]
        scaled = [cell / (cell.norm(dim=1, keepdim=True) + 1e-3) for cell in cells]
        return torch.cat([*scaled, cells[-1]], dim=1)

    def _colours(self, values: Tensor) -> Tensor:
        """Return soft histograms of each channel's levels, in the whole image and its quarters."""
        steps = torch.linspace(0, 1, self.levels, device=values.device).view(1, 1, -1, 1, 1)
        weights = (1 - (values[:, :, None] - steps).abs() * (self.levels - 1)).clamp(min=0)
        weights = weights.flatten(1, 2)  # (batch, channels x levels, height, width)
        return torch.cat([F.adaptive_avg_pool2d(weights, side).flatten(1).sqrt() for side in (1, 2)], dim=1)
