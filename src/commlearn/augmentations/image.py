"""SimCLR's image augmentation as a resampled crop, a short blur and one colour matrix per image.

On the CPU, a crop is resized in its stored type, bytes as bytes, and only then becomes floats. Brightness,
contrast, saturation, hue rotation and greyscale are affine in colour: one 3x3 matrix and one offset. Without
clamping in between, the four jitters commute, so neither their order matters nor whether the blur comes
before them. Values are clamped to 0..1 once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.augmentations.views import check_range, check_share, check_size
from commlearn.batch import Modality, Spec
from commlearn.errors import ConfigurationError

LUMA = (0.299, 0.587, 0.114)
REFERENCE_SIZE = 224  # the blur's sigma is given for images of this size
REACH = 4  # sigmas from its centre that a blur reaches: all that is farther weighs 6e-5


@dataclass(frozen=True)
class ImageAugmentation:
    """Random resized crop, flip, colour jitter, greyscale and blur; each image has its own parameters."""

    size: int = 0  # pixels per side of the augmented image; 0 keeps the image's own size
    scale: tuple[float, float] = (0.08, 1.0)  # share of the area that a crop keeps
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # ratio of a crop's width to its height
    brightness: float = 0.4  # factor drawn from 1 - this to 1 + this
    contrast: float = 0.4  # factor, as for brightness
    saturation: float = 0.4  # factor, as for brightness
    hue: float = 0.1  # share of a full turn of the colour circle, drawn from - this to + this
    jitter: float = 0.8  # probability of the four changes above
    greyscale: float = 0.2  # probability of removing colour
    blur: float = 0.5  # probability of a blur
    sigma: tuple[float, float] = (0.1, 2.0)  # sigma of the blur, in pixels of a 224-pixel image
    flip: float = 0.5  # probability of a horizontal flip

    def __post_init__(self) -> None:
        for name in ("jitter", "greyscale", "blur", "flip"):
            check_share(name, getattr(self, name))
        for name in ("size", "brightness", "contrast", "saturation", "hue"):
            check_size(name, getattr(self, name))
        check_range("scale", self.scale, most=1.0)
        check_range("ratio", self.ratio)
        if not self.ratio[0] > 0:
            raise ConfigurationError(f"ratio is {list(self.ratio)}; give numbers above 0.")
        check_range("sigma", self.sigma)

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        return self.plan(modality, generator, spec)(slice(None))

    def plan(
        self, modality: Modality, generator: torch.Generator, spec: Spec | None = None
    ) -> Callable[[slice], Modality]:
        """Draw the parameters of all images now; return a function that augments a requested part of them."""
        images = modality.values  # (batch, channels, height, width), uint8 or float in 0..1
        draw = torch.rand(len(images), 12, generator=generator)

        def augment(rows: slice) -> Modality:
            chosen = modality.apply(lambda tensor: tensor[rows])
            return chosen.with_values(self.change(chosen.values, draw[rows].unbind(1)))

        return augment

    def change(self, images: Tensor, draw: tuple[Tensor, ...]) -> Tensor:
        """Augment the images as twelve random numbers per image determine; returns floats in 0..1."""
        boxes, mirrored, sigma = self.geometry(images, draw[:6])
        size = (self.size or images.shape[-2], self.size or images.shape[-1])
        move = _move_each if images.device.type == "cpu" else _move_all
        moved = move(images, boxes, mirrored, sigma, size)
        matrix, offset = self.colours(moved, tuple(part.to(images.device) for part in draw[6:]))
        return (matrix @ moved.flatten(2)).add_(offset).clamp_(0, 1).view(moved.shape)

    def geometry(self, images: Tensor, draw: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Return each crop's top, left, height and width in whole pixels, whether to mirror it, and its blur.

        The blur is given by its sigma as a share of the result's side, 0 for an image that is not blurred.
        """
        height, width = images.shape[-2:]
        area, ratio, top, left, flip, blur = draw
        share = self.scale[0] + (self.scale[1] - self.scale[0]) * area
        aspect = torch.exp(math.log(self.ratio[0]) + math.log(self.ratio[1] / self.ratio[0]) * ratio)
        crop_height = ((share / aspect).sqrt() * height).round().clamp(1, height)
        crop_width = ((share * aspect).sqrt() * width).round().clamp(1, width)
        boxes = torch.stack(
            [top * (height - crop_height + 1), left * (width - crop_width + 1), crop_height, crop_width],
            dim=1,
        ).int()
        low, high = self.sigma
        sigma = low + (high - low) * blur / max(self.blur, 1e-9)  # blurred if below the probability
        sigma = torch.where(blur < self.blur, sigma, torch.zeros_like(sigma)) / REFERENCE_SIZE
        return boxes, flip < self.flip, sigma

    def colours(self, moved: Tensor, draw: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return jitter and greyscale as a colour matrix (batch, c, c) and an offset (batch, 1, 1)."""
        jitter, grey, brightness, contrast, saturation, hue = draw
        active = (jitter < self.jitter).float()
        brightness_factor = 1 + active * self.brightness * (2 * brightness - 1)
        contrast_factor = 1 + active * self.contrast * (2 * contrast - 1)
        channels = moved.shape[1]
        luma = moved.new_tensor(LUMA) if channels == 3 else moved.new_full((channels,), 1 / channels)
        matrix = torch.eye(channels, device=moved.device).expand(len(moved), -1, -1)
        if channels == 3:
            colour_factor = (1 + active * self.saturation * (2 * saturation - 1)) * (grey >= self.greyscale)
            matrix = _saturate(colour_factor, luma) @ _rotate_hue(active * self.hue * (2 * hue - 1), luma)
        mean = moved.mean(dim=(2, 3)) @ luma  # (batch,)
        offset = (1 - contrast_factor) * brightness_factor * mean
        return matrix * (brightness_factor * contrast_factor)[:, None, None], offset[:, None, None]


def _move_each(
    images: Tensor, boxes: Tensor, mirrored: Tensor, sigma: Tensor, size: tuple[int, int]
) -> Tensor:
    """Crop, resize with antialiasing, mirror and blur each image by itself, so that it stays in the cache."""
    moved = torch.empty(*images.shape[:2], *size)
    parameters = zip(boxes.tolist(), mirrored.tolist(), sigma.tolist(), strict=True)
    for number, ((top, left, height, width), mirror, blur) in enumerate(parameters):
        part = images[number : number + 1, :, top : top + height, left : left + width]
        resized = F.interpolate(part, size, mode="bilinear", antialias=True)[0]
        image = moved[number].copy_(resized.flip(-1) if mirror else resized)
        if images.dtype == torch.uint8:
            image.div_(255)
        if blur > 0:
            image.copy_(_blur_along(_blur_along(image, 1, blur * size[0]), 2, blur * size[1]))
    return moved


def _move_all(
    images: Tensor, boxes: Tensor, mirrored: Tensor, sigma: Tensor, size: tuple[int, int]
) -> Tensor:
    """Do the same with two matrix products for all images, as launches cost more than arithmetic on GPUs.

    Channels are stored one after the other in memory, so that every product is one of large matrices.
    """
    top, left, height, width = boxes.to(images.device).unbind(1)
    mirrored, sigma = mirrored.to(images.device), sigma.to(images.device)
    rows = _crop_matrix(top, height, images.shape[2], size[0])
    columns = _crop_matrix(left, width, images.shape[3], size[1])
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    rows = _blur_matrix(sigma * size[0], size[0]) @ rows
    columns = _blur_matrix(sigma * size[1], size[1]) @ columns
    if images.dtype == torch.uint8:
        rows = rows / 255  # on the small matrix, not on every pixel
    pixels = torch.empty(images.shape, dtype=rows.dtype, device=images.device).copy_(images)  # converts once
    resized = pixels.flatten(1, 2) @ columns.transpose(1, 2)  # (batch, channels * height, size)
    return rows[:, None] @ resized.unflatten(1, images.shape[1:3])


def _blur_along(image: Tensor, axis: int, sigma: float) -> Tensor:
    """Blur one image along one axis with a Gaussian; nothing beyond the border counts."""
    pixels, weights = image.shape[axis], np.ones(image.shape[axis], dtype=np.float32)
    blurred = image.clone()
    for distance in range(1, min(pixels - 1, int(REACH * sigma)) + 1):
        weight, overlap = math.exp(-((distance / sigma) ** 2) / 2), pixels - distance
        blurred.narrow(axis, distance, overlap).add_(image.narrow(axis, 0, overlap), alpha=weight)
        blurred.narrow(axis, 0, overlap).add_(image.narrow(axis, distance, overlap), alpha=weight)
        weights[distance:] += weight
        weights[:overlap] += weight
    total = torch.from_numpy(weights)
    return blurred.div_(total[:, None] if axis == 1 else total)


def _crop_matrix(start: Tensor, extent: Tensor, pixels: int, size: int) -> Tensor:
    """Return matrices that resample [start, start + extent) to `size` pixels, (batch, size, pixels).

    Resampling is linear and antialiased.
    """
    step = (extent / size)[:, None]  # (batch, 1): source pixels per output pixel
    centre = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * step  # (batch, size)
    source = torch.arange(pixels, device=start.device) + 0.5
    distance = (source - centre[..., None]).abs() / step.clamp(min=1)[..., None]
    inside = (source > start[:, None]) & (source < (start + extent)[:, None])  # (batch, pixels)
    weights = (1 - distance).clamp(min=0) * inside[:, None]  # (batch, size, pixels)
    return weights / weights.sum(dim=-1, keepdim=True)


def _blur_matrix(sigma: Tensor, size: int) -> Tensor:
    """Return matrices of a Gaussian blur along one axis, (batch, size, size); the identity if sigma is 0."""
    index = torch.arange(size, device=sigma.device)
    kernel = torch.exp(-(index**2) / (2 * sigma.clamp(min=1e-2)[:, None] ** 2))  # (batch, size), by distance
    distance = (index[:, None] - index).abs().flatten()
    weights = kernel[:, distance].unflatten(1, (size, size))
    return weights / weights.sum(dim=-1, keepdim=True)


def _saturate(factor: Tensor, luma: Tensor) -> Tensor:
    """Return the matrix of factor * colour + (1 - factor) * its grey, (batch, 3, 3)."""
    grey = luma.expand(3, 3)
    return factor[:, None, None] * torch.eye(3, device=luma.device) + (1 - factor)[:, None, None] * grey


def _rotate_hue(turn: Tensor, luma: Tensor) -> Tensor:
    """Return the rotation of colours by a share of a full turn, (batch, 3, 3); greys and luma are kept."""
    yiq = [list(LUMA), [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
    to_plane = torch.tensor(yiq, device=luma.device)
    angle = 2 * math.pi * turn
    zero, one = torch.zeros_like(turn), torch.ones_like(turn)
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    return torch.linalg.inv(to_plane) @ rotation @ to_plane
