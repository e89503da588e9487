"""Cross+Self (SLIP-like): align modalities with each other, and each with its own augmented version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from commlearn.data.batch import Batch, View, merge
from commlearn.methods.base import (
    Method,
    Step,
    Views,
    gather,
    gather_views,
    pooled,
    present_rows,
    subset_name,
)
from commlearn.methods.clip import concatenated
from commlearn.models.heads import projection_head
from commlearn.objectives import Subset, info_nce, retrieval_accuracy

__all__ = ["CrossSelf"]


class CrossSelf(Method):
    """NT-Xent across modalities plus half the sum of NT-Xent within each. Reaches shared and unique.

    Args:
        encoders: one for each modality.
        heads: one for each modality, into the space of the loss.
        temperature: of every contrast.
    """

    views = Views(augmented=2)

    def __init__(
        self, encoders: Mapping[str, nn.Module], heads: Mapping[str, nn.Module], temperature: float = 0.1
    ) -> None:
        super().__init__(encoders)
        self.heads = nn.ModuleDict(heads)
        self.temperature = temperature

    @classmethod
    def build(cls, encoders: Mapping[str, nn.Module], width: int, temperature: float = 0.1) -> CrossSelf:
        """Cross+Self with a three-layer head for each modality."""
        return cls(encoders, {name: projection_head(width) for name in encoders}, temperature)

    def steps(self, batch: Batch) -> Iterator[Step]:
        first, second = self.project(batch.augmented)
        pairs = list(combinations(self.modalities, 2))
        contrasts: dict[Subset, list[tuple[Tensor, Tensor]]] = {
            pair: [(view[pair[0]], view[pair[1]]) for view in (first, second)] for pair in pairs
        }
        for name in self.modalities:
            contrasts[(name,)] = [(first[name], second[name])]
        terms, accuracy = {}, {}
        for subset, views in contrasts.items():
            rows = present_rows(batch.augmented[0], subset)
            kept = views if rows is None else [(a[gather(rows)], b[gather(rows)]) for a, b in views]
            if rows is not None and len(kept[0][0]) < 2:  # too few records of this batch have it
                continue
            losses = [info_nce(one, other, self.temperature) for one, other in kept]
            terms[subset_name(subset)] = torch.stack(losses).mean()
            accuracy[subset_name(subset)] = retrieval_accuracy(*kept[0])
        yield Step(self.combine(terms, pairs), terms, accuracy=accuracy)

    def combine(self, terms: Mapping[str, Tensor], pairs: Sequence[tuple[str, str]]) -> Tensor:
        """Mean over pairs of modalities + 1/2 the sum over modalities."""
        cross = [terms[subset_name(pair)] for pair in pairs if subset_name(pair) in terms]
        within = [terms[name] for name in self.modalities if name in terms]
        zero = 0.0 * next(self.parameters()).sum()
        return (torch.stack(cross).mean() if cross else zero) + 0.5 * sum(within, zero)

    def project(self, views: Sequence[View]) -> list[dict[str, Tensor]]:
        """Every modality's projection, for each view, over all ranks."""
        vectors = pooled(self, merge(views))  # each encoder runs once for both views
        projected = {
            name: self.heads[name](gather_views(rows, len(views))).chunk(len(views))
            for name, rows in vectors.items()
        }
        return [{name: parts[i] for name, parts in projected.items()} for i in range(len(views))]

    def embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        return concatenated(self, view, modalities)
