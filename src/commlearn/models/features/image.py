"""Features of images: pixels, directions of edges, colours, and those of a published network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.batch import Modality
from commlearn.models.features.base import Raw, Sample
from commlearn.models.features.networks import EFFICIENTNET

SIDE = 128  # pixels a side that the network sees; 96 takes half the time, and is up to 2 points worse
SMALLEST = 16  # pixels a side from which a picture is one to the network


class Pixels(Raw):
    """Pixels averaged over a grid, directions of edges (as HOG has them) and colours.

    Where the weights of EfficientNet-lite0 are installed, its outputs for pictures in colour are beside them.
    """

    own = "pixels, directions of edges and colours"
    largest = 64  # pixels a side
    directions = 8
    levels = 8  # of a channel

    def network_reads(self, sample: Sample) -> bool:
        channels, *sides = self.spec.shape
        return channels == 3 and min(sides) >= SMALLEST

    def forward(self, modality: Modality) -> list[Tensor]:
        drawn = self._drawn(modality)
        if not self.uses_network:
            return drawn
        pixels = modality.values.float().nan_to_num()
        pixels = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        outputs = EFFICIENTNET.outputs(list(pixels.cpu()), modality.values.device)
        return self.beside_network(torch.cat(drawn, dim=1), outputs)

    def _drawn(self, modality: Modality) -> list[Tensor]:
        values = modality.values.float().nan_to_num() / 255  # (batch, channels, height, width)
        height, width = (min(side, self.largest) for side in values.shape[-2:])
        values = F.adaptive_avg_pool2d(values, (height, width))
        grey = values.mean(dim=1, keepdim=True)
        pixels = [F.adaptive_avg_pool2d(values, 8).flatten(1), F.adaptive_avg_pool2d(grey, 16).flatten(1)]
        return [torch.cat(pixels, dim=1), self._edges(values), self._colours(values)]

    def _edges(self, values: Tensor) -> Tensor:
        """How strong edges of each direction are: in 8 x 8 and 4 x 4 cells, and in the whole image."""
        padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
        right = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]  # (batch, channels, height, width)
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        best = (right.square() + down.square()).argmax(dim=1, keepdim=True)  # the channel that changes most
        right, down = right.gather(1, best), down.gather(1, best)  # (batch, 1, height, width)
        place = torch.atan2(down, right).remainder(torch.pi) / torch.pi * self.directions
        centres = torch.arange(self.directions, device=values.device).view(1, -1, 1, 1)
        away = (place - centres).abs()
        away = torch.minimum(away, self.directions - away)  # the last direction is beside the first
        edges = (1 - away).clamp(min=0) * (
            right.square() + down.square()
        ).sqrt()  # (batch, bins, height, width)
        cells = [F.adaptive_avg_pool2d(edges, side).flatten(1) for side in (8, 4, 1)]
        return torch.cat(
            [*(cell / (cell.norm(dim=1, keepdim=True) + 1e-3) for cell in cells), cells[-1]], dim=1
        )

    def _colours(self, values: Tensor) -> Tensor:
        """How much of each level a channel has, softly, in the whole image and its quarters."""
        steps = torch.linspace(0, 1, self.levels, device=values.device).view(1, 1, -1, 1, 1)
        near = (1 - (values[:, :, None] - steps).abs() * (self.levels - 1)).clamp(min=0)
        near = near.flatten(1, 2)  # (batch, channels x levels, height, width)
        return torch.cat([F.adaptive_avg_pool2d(near, side).flatten(1).sqrt() for side in (1, 2)], dim=1)
