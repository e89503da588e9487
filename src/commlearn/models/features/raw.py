"""Features of texts, images, vectors and tables as the literature has them, and which kind has which."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from commlearn.batch import Modality, Spec
from commlearn.models.features.base import DIMENSIONS, Raw, Sample, Texts, leading_directions
from commlearn.models.features.networks import EFFICIENTNET, MINILM, TOKENIZER, Published, pieces
from commlearn.models.features.series import Steps


class Words(Raw):
    """tf-idf of the ids of a text, and the directions in which texts differ most (truncated SVD).

    Where the weights of MiniLM are installed, its sentence vectors are beside them.
    """

    own = "weighted counts of words (tf-idf) and their leading directions"
    same_unit = True
    most = 20_000  # ids that are counted
    chosen: Tensor
    rarity: Tensor
    directions: Tensor

    def __init__(self, spec: Spec, network: Published | None = None) -> None:
        super().__init__(spec, network)
        self.store(
            chosen=torch.zeros(1, dtype=torch.long),  # (ids,): the most frequent ones
            rarity=torch.zeros(1),  # (ids,)
            directions=torch.zeros(1, 1),  # (ids, dimensions)
        )

    def learn(self, sample: Sample, seed: int) -> None:
        counted = [sparse.csr_matrix(self._counts(part).numpy()) for part in sample]
        counts = sparse.vstack(counted).tocsr()
        within = np.asarray((counts > 0).sum(axis=0)).ravel()
        often = np.sort(np.argsort(-within, kind="stable")[: self.most])
        least = 2 if len(sample) > 100 else 1  # an id of a single text tells nothing of others
        often = often[within[often] >= least] if (within >= least).any() else often[:1]
        rarity = np.log((1 + len(sample)) / (1 + within[often])) + 1
        matrix = counts[:, often].log1p().multiply(rarity).tocsr()
        length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)))
        matrix = sparse.csr_matrix(matrix.multiply(1 / np.maximum(length, 1e-12)), dtype=np.float32)
        self.store(
            chosen=often.astype(np.int64),
            rarity=rarity.astype(np.float32),
            directions=leading_directions(matrix, DIMENSIONS, seed),
        )

    def network_reads(self, sample: Sample) -> bool:
        return isinstance(next(iter(sample)), Texts)

    def forward(self, modality: Modality) -> list[Tensor]:
        weighted = self._counts(modality).index_select(1, self.chosen).log1p() * self.rarity  # (batch, ids)
        counted = F.normalize(weighted, dim=1) @ self.directions
        return self.beside_network(counted, self._sentences(modality)) if self.uses_network else [counted]

    def blank(self) -> Modality:
        blank = super().blank()
        return Texts(blank.values, texts=("",) * len(blank))

    def _sentences(self, modality: Modality) -> Tensor:
        """A vector of each text by the network, (batch, features)."""
        if not isinstance(modality, Texts) or len(modality.texts) != len(modality):
            raise TypeError(f"{MINILM.name} reads texts, and these are ids of words alone.")
        return MINILM.outputs(pieces(modality.texts, MINILM.beside(TOKENIZER)), modality.values.device)

    def _counts(self, modality: Modality) -> Tensor:
        """How often each id occurs, (batch, ids)."""
        values = modality.values.long()
        counts = torch.zeros(len(values), self.spec.shape[0], device=values.device)
        return counts.scatter_add_(1, values.clamp(0, self.spec.shape[0] - 1), modality.real.float())


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
    softness = 0.5

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


class Cells(Raw):
    """A vector as it is; zeros in gaps."""

    def forward(self, modality: Modality) -> list[Tensor]:
        return [modality.values.flatten(1).float().nan_to_num()]


class Table(Raw):
    """Numbers with zero in gaps, which ones are missing, and categories one-hot."""

    def forward(self, modality: Modality) -> list[Tensor]:
        numbers = modality.values[:, : self.spec.shape[0]].float()
        codes = modality.values[:, self.spec.shape[0] :].nan_to_num()
        chosen = [
            F.one_hot(codes[:, place].long().clamp(0, size - 1), size)
            for place, size in enumerate(self.spec.shape[1:])
        ]
        return [torch.cat([numbers.nan_to_num(), numbers.isnan(), *chosen], dim=1).float()]


RAW: dict[str, type[Raw]] = {
    "image": Pixels,
    "tabular": Table,
    "series": Steps,
    "audio": Steps,
    "text": Words,
}
NETWORKS: dict[str, Published] = {"image": EFFICIENTNET, "text": MINILM}
