"""Standard features of texts, images, vectors and tables, and the mapping from kinds to features."""

from __future__ import annotations

import unicodedata

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor

from commlearn.batch import Modality, Spec
from commlearn.models.features.base import DIMENSIONS, Raw, Sample, Texts, leading_directions
from commlearn.models.features.networks import EFFICIENTNET, MINILM, TOKENIZER, Published, pieces
from commlearn.models.features.patches import SIDE as SIDE_OF_PATCH
from commlearn.models.features.patches import shown_patches, typical_patches
from commlearn.models.features.series import Steps
from commlearn.models.textures import SIDE as SIDE_OF_PATTERN
from commlearn.models.textures import texture_energies, waves

LETTERS = HashingVectorizer(
    analyzer="char_wb",
    ngram_range=(3, 5),
    n_features=2**15,
    alternate_sign=False,
    norm=None,
    dtype=np.float32,
)
"""Counts runs of three to five letters within words."""


class Words(Raw):
    """tf-idf of a text's ids, reduced to the directions in which texts differ most (truncated SVD).

    If the weights of MiniLM are installed, its sentence vectors are included. Otherwise runs of letters are
    counted too, which capture what inflected and misspelt words have in common, as the network does.
    """

    own = "weighted counts (tf-idf) of words and their leading directions"
    instead = "runs of letters"
    optional = ("letters",)
    same_unit = True
    most, most_letters = 20_000, 8192  # most ids, and runs of letters, that are counted
    chosen: Tensor
    rarity: Tensor
    directions: Tensor
    letters: Tensor

    def __init__(self, spec: Spec, network: Published | None = None) -> None:
        super().__init__(spec, network)
        self.store(
            chosen=torch.zeros(1, dtype=torch.long),  # (ids,): the most frequent ones
            rarity=torch.zeros(1),  # (ids + letters,)
            directions=torch.zeros(1, 1),  # (ids + letters, dimensions)
        )

    def learn(self, sample: Sample, seed: int) -> None:
        counts = [sparse.csr_matrix(self._counts(part).numpy()) for part in sample]
        chosen, weights, rarity = _weighted(counts, self.most)
        if self.network_reads(sample) and not self.uses_network:
            letters, letter_weights, letter_rarity = _weighted(
                [_letter_counts(part) for part in sample], self.most_letters
            )
            weights, rarity = (
                sparse.hstack([weights, letter_weights]).tocsr(),
                np.concatenate([rarity, letter_rarity]),
            )
            self.store(letters=letters)
        self.store(chosen=chosen, rarity=rarity, directions=leading_directions(weights, DIMENSIONS, seed))

    def network_reads(self, sample: Sample) -> bool:
        return isinstance(next(iter(sample)), Texts)

    def forward(self, modality: Modality) -> list[Tensor]:
        words = self._counts(modality).index_select(1, self.chosen)  # (batch, ids)
        rarity = self.rarity.split([len(self.chosen), len(self.rarity) - len(self.chosen)])
        weighted = F.normalize(words.log1p() * rarity[0], dim=1)
        if self.holds("letters"):
            counts = _letter_counts(modality)[:, self.letters.cpu().numpy()].toarray()
            letters = torch.from_numpy(counts).to(words.device).log1p() * rarity[1]  # (batch, letters)
            weighted = torch.cat([weighted, F.normalize(letters, dim=1)], dim=1)
        reduced = weighted @ self.directions  # (batch, dimensions)
        return self.beside_network(reduced, self._sentences(modality)) if self.uses_network else [reduced]

    def blank(self) -> Modality:
        blank = super().blank()
        return Texts(blank.values, texts=("",) * len(blank))

    def _sentences(self, modality: Modality) -> Tensor:
        """Return the network's vector of each text, (batch, features)."""
        return MINILM.outputs(pieces(_texts(modality), MINILM.beside(TOKENIZER)), modality.values.device)

    def _counts(self, modality: Modality) -> Tensor:
        """Count how often each id occurs, (batch, ids)."""
        values = modality.values.long()
        counts = torch.zeros(len(values), self.spec.shape[0], device=values.device)
        return counts.scatter_add_(1, values.clamp(0, self.spec.shape[0] - 1), modality.real.float())


def _texts(modality: Modality) -> tuple[str, ...]:
    if not isinstance(modality, Texts) or len(modality.texts) != len(modality):
        raise TypeError("These features need the texts themselves, but got only token ids.")
    return modality.texts


def _letter_counts(modality: Modality) -> sparse.csr_matrix:
    return LETTERS.transform([unicodedata.normalize("NFKC", text) for text in _texts(modality)])


def _weighted(parts: list[sparse.csr_matrix], most: int) -> tuple[np.ndarray, sparse.csr_matrix, np.ndarray]:
    """Return the most frequent columns, their tf-idf with each text scaled to norm 1, and their rarity."""
    counts = sparse.vstack(parts).tocsr()
    texts = counts.shape[0]
    frequency = np.asarray((counts > 0).sum(axis=0)).ravel()
    columns = np.sort(np.argsort(-frequency, kind="stable")[:most])
    minimum = 2 if texts > 100 else 1  # what occurs in one text carries no information about others
    columns = columns[frequency[columns] >= minimum] if (frequency >= minimum).any() else columns[:1]
    rarity = np.log((1 + texts) / (1 + frequency[columns])) + 1
    matrix = counts[:, columns].log1p().multiply(rarity).tocsr()
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)))
    matrix = sparse.csr_matrix(matrix.multiply(1 / np.maximum(length, 1e-12)), dtype=np.float32)
    return columns.astype(np.int64), matrix, rarity.astype(np.float32)


SIDE = 128  # side in pixels that the network sees; 96 takes half the time, and is up to 2 points worse
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
        self.store(patterns=waves(SIDE_OF_PATTERN))
        if not self.uses_network and min(self.spec.shape[1:]) >= SIDE_OF_PATCH:
            kernels, offset = typical_patches(sample, seed)
            self.store(kernels=kernels, offset=offset)

    @property
    def described(self) -> str:
        return f"{self.own}, textures" if self.holds("patterns") else self.own

    def network_reads(self, sample: Sample) -> bool:
        channels, *sides = self.spec.shape
        return channels == 3 and min(sides) >= SMALLEST

    def forward(self, modality: Modality) -> list[Tensor]:
        groups = self._measure(modality)
        if self.holds("kernels"):
            groups.append(shown_patches(modality, self.kernels, self.offset))
        if self.holds("patterns"):
            groups.append(texture_energies(modality.values, self.patterns))
        if not self.uses_network:
            return groups
        pixels = modality.values.float().nan_to_num()
        pixels = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        outputs = EFFICIENTNET.outputs(list(pixels.cpu()), modality.values.device)
        return self.beside_network(torch.cat(groups, dim=1), outputs)

    def _measure(self, modality: Modality) -> list[Tensor]:
        values = modality.values.float().nan_to_num() / 255  # (batch, channels, height, width)
        height, width = (min(side, self.largest) for side in values.shape[-2:])
        values = F.adaptive_avg_pool2d(values, (height, width))
        grey = values.mean(dim=1, keepdim=True)
        pixels = [F.adaptive_avg_pool2d(values, 8).flatten(1), F.adaptive_avg_pool2d(grey, 16).flatten(1)]
        return [torch.cat(pixels, dim=1), self._edges(values), self._colours(values)]

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
        return torch.cat(
            [*(cell / (cell.norm(dim=1, keepdim=True) + 1e-3) for cell in cells), cells[-1]], dim=1
        )

    def _colours(self, values: Tensor) -> Tensor:
        """Return soft histograms of each channel's levels, in the whole image and its quarters."""
        steps = torch.linspace(0, 1, self.levels, device=values.device).view(1, 1, -1, 1, 1)
        weights = (1 - (values[:, :, None] - steps).abs() * (self.levels - 1)).clamp(min=0)
        weights = weights.flatten(1, 2)  # (batch, channels x levels, height, width)
        return torch.cat([F.adaptive_avg_pool2d(weights, side).flatten(1).sqrt() for side in (1, 2)], dim=1)


class Cells(Raw):
    """A vector unchanged, but for zeros in gaps."""

    def forward(self, modality: Modality) -> list[Tensor]:
        return [modality.values.flatten(1).float().nan_to_num()]


FEWEST_PARTS, PARTS = 4, 8  # fewest and most parts of a column's range
MOST_PARTS = 64  # parts of all columns together, so that more than 16 numbers are not divided


class Table(Raw):
    """Numbers with zeros in gaps, flags of missing numbers, and one-hot categories.

    If there are few numeric columns, features also say how far each number reaches through each part of its
    column's range (piecewise linear, Gorishniy 2022). Linear readers can then follow any curve of one column.
    """

    optional = ("knots",)
    knots: Tensor  # (numbers, parts + 1): quantiles of each column

    def learn(self, sample: Sample, seed: int) -> None:
        parts = min(PARTS, MOST_PARTS // max(self.spec.shape[0], 1))
        if parts >= FEWEST_PARTS and self.spec.shape[0]:
            numbers = np.concatenate([self._numbers(part).numpy() for part in sample])
            self.store(knots=_knots(numbers, parts))

    def forward(self, modality: Modality) -> list[Tensor]:
        numbers = self._numbers(modality)
        codes = modality.values[:, self.spec.shape[0] :].nan_to_num()
        one_hot = [
            F.one_hot(codes[:, column].long().clamp(0, size - 1), size)
            for column, size in enumerate(self.spec.shape[1:])
        ]
        cells = torch.cat([numbers.nan_to_num(), numbers.isnan(), *one_hot], dim=1).float()
        return [cells, self._reached(numbers.nan_to_num())] if self.holds("knots") else [cells]

    def _numbers(self, modality: Modality) -> Tensor:
        return modality.values[:, : self.spec.shape[0]].float()

    def _reached(self, numbers: Tensor) -> Tensor:
        """Return how far each number reaches through each part, from 0 to 1, (batch, numbers x parts)."""
        low, high = self.knots[:, :-1], self.knots[:, 1:]  # (numbers, parts)
        share = (numbers[:, :, None] - low) / (high - low).clamp(min=1e-6)
        return share.clamp(0, 1).flatten(1)


def _knots(numbers: np.ndarray, parts: int) -> np.ndarray:
    """Return each column's distinct quantiles, (numbers, parts + 1), then its maximum, which nothing exceeds.

    A column that they divide into a single part has only its maximum: the part would repeat the number.
    """
    knots = np.zeros((numbers.shape[1], parts + 1), dtype=np.float32)
    for column, values in enumerate(numbers.T):
        observed = values[~np.isnan(values)]
        if len(observed):
            quantiles = np.unique(np.quantile(observed, np.linspace(0, 1, parts + 1)).astype(np.float32))
            knots[column] = quantiles[-1]
            if len(quantiles) > 2:
                knots[column, : len(quantiles)] = quantiles
    return knots


RAW: dict[str, type[Raw]] = {
    "image": Pixels,
    "tabular": Table,
    "series": Steps,
    "audio": Steps,
    "text": Words,
}
NETWORKS: dict[str, Published] = {"image": EFFICIENTNET, "text": MINILM}
