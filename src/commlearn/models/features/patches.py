"""How much a picture shows of the patches that are typical of training rows (Coates and Ng, 2012).

Patches are normalised to the same mean and contrast, whitened, and grouped by spherical k-means. The
features say how much each quarter of a picture shows of each group and of its negative. They are computed
with one convolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.batch import Modality
from commlearn.models.features.base import Sample
from commlearn.seeds import torch_generator

SIDE, STRIDE, LARGEST = 6, 2, 32  # in pixels: a patch's side, the step between patches, a picture's side
GROUPS = 128
PATCHES, ROUNDS = 20_000, 12  # most patches to make groups from, and rounds of k-means
CONTRAST = 1e-3  # added to the variance of a patch, so that flat ones stay flat
NOISE = 0.01  # added to the variances that whitening divides by
LEAST = 1.0  # likeness below which a patch does not count towards a group


def pictures_for_patches(modality: Modality) -> Tensor:
    """Return pictures in 0..1 with sides of at most 32 pixels, (batch, channels, height, width)."""
    values = modality.values.float().nan_to_num() / 255
    height, width = (min(side, LARGEST) for side in values.shape[-2:])
    return F.adaptive_avg_pool2d(values, (height, width))


def typical_patches(sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
    """Return each group's kernel, (groups, channels, SIDE, SIDE), and the offset to subtract, (groups,)."""
    generator = torch_generator(seed, "patches")
    per_record = max(1, PATCHES // len(sample))
    samples = []
    for part in sample:
        pictures = pictures_for_patches(part)
        centre, contrast = (values.flatten(1)[..., None] for values in _moments(pictures))
        patches = F.unfold(pictures, SIDE, stride=STRIDE).transpose(1, 2)  # (batch, positions, numbers)
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
    shape = (GROUPS, -1, SIDE, SIDE)
    return kernels.float().view(shape), (kernels @ mean).float()


def shown_patches(modality: Modality, kernels: Tensor, offset: Tensor) -> Tensor:
    """Return how much each quarter of a picture shows of each group and its negative, (batch, 8 x groups)."""
    pictures = pictures_for_patches(modality)
    centre, contrast = _moments(pictures)
    sums = kernels.sum(dim=(1, 2, 3)).view(1, -1, 1, 1)
    likeness = (F.conv2d(pictures, kernels, stride=STRIDE) - centre * sums) / contrast - offset.view(
        1, -1, 1, 1
    )
    responses = [F.adaptive_avg_pool2d((sign * likeness - LEAST).clamp(min=0), 2) for sign in (1, -1)]
    return torch.cat(responses, dim=1).flatten(1).sqrt()


def _moments(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and contrast of every patch, over all channels, (batch, 1, rows, columns)."""
    centre = F.avg_pool2d(pictures.mean(dim=1, keepdim=True), SIDE, STRIDE)
    squares = F.avg_pool2d(pictures.square().mean(dim=1, keepdim=True), SIDE, STRIDE)
    return centre, ((squares - centre.square()).clamp(min=0) + CONTRAST).sqrt()
