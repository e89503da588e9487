"""Features of texts: weighted counts of words, their leading directions, vectors of a published network."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from commlearn.batch import Modality, Spec
from commlearn.models.features.base import DIMENSIONS, Raw, Sample, Texts, leading_directions
from commlearn.models.features.minilm import TOKENIZER, pieces
from commlearn.models.features.networks import MINILM, Published


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
        real = torch.ones_like(values, dtype=torch.float32)
        if modality.padding is not None:
            real = real.masked_fill(modality.padding, 0)
        counts = torch.zeros(len(values), self.spec.shape[0], device=values.device)
        return counts.scatter_add_(1, values.clamp(0, self.spec.shape[0] - 1), real)
