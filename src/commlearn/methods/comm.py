"""CoMM: contrast multimodal views of a record instead of its modalities (ICLR 2025).

The whole idea: draw two augmented versions of the *whole* multimodal record, fuse each subset of
its modalities into one vector with one network, and make every subset agree with the full fusion
of the other version. The full term reaches shared, unique and synergistic information; the term of
one modality reaches what is shared and what is unique to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from commlearn.data.batch import Batch, View, merge
from commlearn.methods.base import Method, Step, Views, subset_name
from commlearn.methods.rows import Rows, rows_of
from commlearn.methods.subsets import (
    all_but_one,
    choose_subsets,
    single_and_all,
    term_weights,
    weighted_mean,
)
from commlearn.models.fusion import Fusion
from commlearn.models.heads import Temperature, projection_head, temperature_of
from commlearn.models.token_means import TokenMeans
from commlearn.models.tokens import Tokens
from commlearn.objectives import Subset, comm_terms, retrieval_accuracy

__all__ = ["CoMM", "Held", "fused_parts"]

Held = Literal["fused", "fused+tokens"]
"""What an embedding holds: the fused vector, and each modality's mean token beside it."""


class CoMM(Method):
    """Contrastive MultiModal learning.

    Args:
        encoders: one for each modality; they share the fusion's width.
        fusion: maps the tokens of a subset of modalities to one vector.
        head: maps this vector to the space of the loss.
        subsets: what is contrasted with the full fusion; each modality alone, and all.
        temperature: of the contrast; a module for one that is learned.
        weights: of the terms, by subset name; 1 where nothing is said.
        beside: what an embedding holds beside the fused vector, if anything.
    """

    views = Views(augmented=2)

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        subsets: Sequence[Subset] | None = None,
        temperature: float | nn.Module = 0.1,
        weights: Mapping[str, float] | None = None,
        beside: TokenMeans | None = None,
    ) -> None:
        super().__init__(encoders)
        self.fusion = fusion
        self.head = head
        self.subsets = tuple(subsets or single_and_all(self.modalities))
        self.temperature = Temperature(temperature) if isinstance(temperature, int | float) else temperature
        self.weights = term_weights(weights or {}, self.subsets)
        self.beside = beside

    @classmethod
    def build(
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        fusion: nn.Module | None = None,
        subsets: str = "each_and_all",
        temperature: float | Literal["learned"] = 0.1,
        weights: dict[str, float] | None = None,
        embedding: Held = "fused",
    ) -> CoMM:
        """CoMM with its published fusion and head; embeddings may hold each modality's mean token, too."""
        parts = fused_parts(encoders, width, fusion, subsets, temperature, embedding)
        return cls(encoders, **parts, weights=weights)

    def represent(self, batch: Batch) -> Rows:
        tokens = self.encode(merge(batch.augmented))  # each encoder runs once for both views
        fused = self.fusion(tokens, dict.fromkeys((*self.subsets, self.modalities)))
        self.look_beside(tokens, fused)
        return rows_of(batch, fused)

    @torch.no_grad()
    def look_beside(self, tokens: Mapping[str, Tokens], fused: Mapping[Subset, Tensor]) -> None:
        """What stands beside the fused vector follows the training records, whole and less a modality."""
        if self.beside is not None and self.training:
            rests = [subset for subset in all_but_one(self.modalities) if subset not in fused]
            self.beside.observe(tokens, {**fused, **self.fusion(tokens, rests)})

    def compare(self, rows: Rows) -> Step:
        return self.contrast(*self.project(rows), rows)

    def contrast(self, first: Mapping[Subset, Tensor], second: Mapping[Subset, Tensor], rows: Rows) -> Step:
        """The loss from the projections of both views."""
        full = self.modalities
        present = {subset: rows.having(subset) for subset in self.subsets if subset != full}
        known = {subset: mask for subset, mask in present.items() if mask is not None}
        all_terms = comm_terms(first, second, full, self.temperature(), known)
        terms = {subset: all_terms[subset] for subset in self.subsets}
        return Step(
            loss=weighted_mean(terms, self.weights),
            terms={subset_name(subset): term for subset, term in terms.items()},
            accuracy={
                subset_name(subset): retrieval_accuracy(first[subset], second[full]) for subset in terms
            },
        )

    def project(self, rows: Rows) -> tuple[dict[Subset, Tensor], dict[Subset, Tensor]]:
        """The projection of every subset of modalities, for each of the two views."""
        first, second = {}, {}
        for subset in dict.fromkeys((*self.subsets, self.modalities)):
            first[subset], second[subset] = self.head(rows.stacked(subset)).chunk(2)
        return first, second

    def embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        subset = self.subset(modalities, view)
        tokens = self.encode(view, subset)
        fused = self.fusion(tokens, [subset])[subset]
        return fused if self.beside is None else torch.cat([fused, self.beside(tokens, fused)], dim=1)


def fused_parts(
    encoders: Mapping[str, nn.Module],
    width: int,
    fusion: nn.Module | None,
    subsets: str,
    temperature: float | Literal["learned"],
    embedding: Held,
) -> dict[str, Any]:
    """What CoMM and its kin have beside their encoders: the published fusion and head, if none is given."""
    return {
        "fusion": fusion or Fusion(width),
        "head": projection_head(width),
        "subsets": choose_subsets(subsets, tuple(encoders)),
        "temperature": temperature_of(temperature),
        "beside": TokenMeans(list(encoders), width) if embedding == "fused+tokens" else None,
    }
