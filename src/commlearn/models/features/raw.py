"""What features of every kind have in common, and the features of texts, vectors and tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor, nn

from commlearn.batch import Modality, Spec, blank_values
from commlearn.models.features.networks import EXTRA, MINILM, Published, pieces
from commlearn.records import Column, presence
from commlearn.seeds import torch_generator

DIMENSIONS = 256  # most dimensions of a block of features
BLOCK = 256  # records read at a time
QUANTILE_ROWS = 2048  # most training rows used to decide what is an outlier


@dataclass(frozen=True)
class FeatureValues(Modality):
    """Fixed features of a modality, (batch, dim), in place of the values that they were computed from.

    A view may hold them; they are not computed again.
    """


@dataclass(frozen=True)
class Texts(Modality):
    """Token ids of a batch of texts, and the texts themselves, for a network that has its own tokenizer."""

    texts: tuple[str, ...] = ()  # "" = absent

    def apply(self, change: Callable[[Tensor], Tensor]) -> Self:
        if not self.texts:
            return super().apply(change)
        rows = change(torch.arange(len(self.texts), device=self.values.device)).tolist()
        return replace(super().apply(change), texts=tuple(self.texts[row] for row in rows))


class Learned(nn.Module):
    """A module whose buffers get their sizes when it learns, or when it loads a state."""

    def store(self, **values: Tensor | np.ndarray) -> None:
        for name, value in values.items():
            self.register_buffer(name, torch.as_tensor(value))

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            loaded = state.get(prefix + name)
            if loaded is not None and loaded.shape != buffer.shape:
                self.register_buffer(name, torch.empty_like(loaded, device=buffer.device))
        super()._load_from_state_dict(state, prefix, *args)


class Sample:
    """Some records of a column, read in blocks; records without the modality are left out."""

    def __init__(self, column: Column, rows: np.ndarray) -> None:
        self.column, self.spec, self.rows = column, column.spec, rows[presence(column, rows)]

    def __len__(self) -> int:
        return max(len(self.rows), 1)

    def __iter__(self) -> Iterator[Modality]:
        if not len(self.rows):  # no record has it: yield a blank one to take the sizes from
            yield Modality(blank_values(self.spec))
        for start in range(0, len(self.rows), BLOCK):
            yield replace(self.column.take(self.rows[start : start + BLOCK]), present=None)

    def some(self, count: int, generator: np.random.Generator) -> Sample:
        """Return at most `count` of the records, chosen at random."""
        return Sample(self.column, self.rows[some_places(len(self.rows), count, generator)])


class Raw(Learned):
    """Features of one kind as the literature defines them: any number of features, in any unit.

    Outputs of a network are included if its weights are installed when the features learn. The weights are
    not part of the state, but their SHA-256 is.
    """

    optional: tuple[str, ...] = ()  # buffers that not every state has; the first belongs to `instead`
    same_unit = False  # whether a feature with a larger deviation carries more information
    own, instead = "", ""  # descriptions of the features, and of those that replace a network's

    def __init__(self, spec: Spec, network: Published | None = None) -> None:
        super().__init__()
        self.spec, self.network = spec, network

    @property
    def softness(self) -> float:
        """Power of a component's deviation that gives its size: 1 = unchanged, 0 = whitened."""
        return 1.0

    @property
    def uses_network(self) -> bool:
        """Whether the features include those of a network; known once they have learned."""
        return self.holds("sha256")

    def holds(self, buffer: str) -> bool:
        return buffer in dict(self.named_buffers(recurse=False))

    def choose_network(self, sample: Sample) -> None:
        """Use the network's outputs from now on, if it reads such records and its weights are installed."""
        sha256 = self.network.sha256() if self.network is not None and self.network_reads(sample) else None
        if sha256 is not None:
            self.store(sha256=sha256)

    def network_reads(self, sample: Sample) -> bool:
        """Return whether the network can read these records."""
        return True

    @property
    def described(self) -> str:
        """Description of the features, without those of a network or in its place."""
        return self.own

    @property
    def source(self) -> str:
        """Description of the features and of how to get others; empty if there is no choice."""
        if not self.own or self.network is None:
            return ""
        if self.uses_network:
            return (
                f"{self.described}, and outputs of {self.network.name} (package {self.network.package}; "
                "model.networks=false leaves them out)"
            )
        own = f"{self.described}, and {self.instead}" if self.holds(self.optional[0]) else self.described
        return f"{own}; outputs of {self.network.name} are not included ({EXTRA} adds them)"

    def learn(self, sample: Sample, seed: int) -> None:
        """Learn what is needed from training rows; by default, nothing."""

    def forward(self, modality: Modality) -> list[Tensor]:
        """Return groups of features, each (batch, features); groups of any size count the same."""
        raise NotImplementedError

    def blank(self) -> Modality:
        """Return a blank record, which carries no information."""
        return Modality(blank_values(self.spec))

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *args: Any) -> None:
        if self.network is not None and f"{prefix}sha256" in state:
            self.network.check(state[f"{prefix}sha256"])
            self.store(sha256=state[f"{prefix}sha256"])
        self.store(**{name: state[prefix + name] for name in self.optional if prefix + name in state})
        super()._load_from_state_dict(state, prefix, *args)


def some_places(count: int, most: int, generator: np.random.Generator) -> np.ndarray:
    """Return at most `most` of `count` places, in ascending order."""
    return np.arange(count) if count <= most else np.sort(generator.choice(count, most, replace=False))


def leading_directions(matrix: Tensor | sparse.csr_matrix, most: int, seed: int) -> Tensor:
    """Return the leading right singular vectors, (columns, at most `most`), by seeded subspace iteration."""
    rows, columns = matrix.shape
    width = min(most + 16, rows, columns)
    start = torch.randn(columns, width, generator=torch_generator(seed, "components"))
    values = matrix if isinstance(matrix, sparse.csr_matrix) else matrix.numpy()
    basis = start.numpy()
    for _ in range(4):
        basis = np.linalg.qr(values @ basis)[0]  # (rows, width)
        basis = np.linalg.qr(values.T @ basis)[0]  # (columns, width)
    singular, rotation = np.linalg.svd(values @ basis, full_matrices=False)[1:]
    leading = basis @ rotation.T  # (columns, width), the strongest first
    strong = singular[:most] > 1e-4 * max(float(singular[0]), 1e-30)
    leading = leading[:, :most][:, strong] if strong.any() else leading[:, :1]
    signs = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    return torch.from_numpy(np.ascontiguousarray(leading * np.where(signs == 0, 1, signs), dtype=np.float32))


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
            weights = sparse.hstack([weights, letter_weights]).tocsr()
            rarity = np.concatenate([rarity, letter_rarity])
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
        if not self.uses_network:
            return [reduced]
        sentences = MINILM.outputs(pieces(_texts(modality)), modality.values.device)
        return [reduced, *sentences.chunk(2, dim=1)]  # two groups count twice as much as one

    def blank(self) -> Modality:
        blank = super().blank()
        return Texts(blank.values, texts=("",) * len(blank))

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
        if not self.holds("knots"):
            return [cells]
        low, high = self.knots[:, :-1], self.knots[:, 1:]  # (numbers, parts)
        reached = (numbers.nan_to_num()[:, :, None] - low) / (high - low).clamp(min=1e-6)
        return [cells, reached.clamp(0, 1).flatten(1)]  # the second: (batch, numbers x parts)

    def _numbers(self, modality: Modality) -> Tensor:
        return modality.values[:, : self.spec.shape[0]].float()


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
