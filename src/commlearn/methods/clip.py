"""CLIP ("Cross"): each modality retrieves the other. Reaches only what is shared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from commlearn.batch import Batch, View
from commlearn.methods.base import Method, Step, Views, pooled
from commlearn.methods.rows import Rows, rows_of
from commlearn.methods.separate import Contrasts, concatenated, contrasted
from commlearn.models.heads import positive
from commlearn.objectives import clip_loss

Embedded = Literal["encoders", "projections"]
"""What an embedding holds for each modality: the pooled output of its encoder, or its projection."""


class CLIP(Method):
    """Symmetric cross-entropy between modalities; with more than two, the mean over all pairs.

    Args:
        encoders: one for each modality.
        projectors: one linear map for each modality into the space of the loss.
        embedding: what is embedded; in the paper the encoders' outputs.

    Example:
        >>> import torch
        >>> from commlearn.batch import Modality
        >>> from commlearn.models.encoders import ENCODERS
        >>> encoders = {name: ENCODERS["linear"]((3,), width=8) for name in ("left", "right")}
        >>> view = {name: Modality(torch.ones(4, 3)) for name in encoders}
        >>> method = CLIP.build(encoders, width=8)
        >>> method.embed(view).shape, method.embed(view, ["left"]).shape
        (torch.Size([4, 16]), torch.Size([4, 8]))
    """

    views = Views(plain=True, augmented=0)
    modality_count = (2, None)
    largest_scale = 100.0

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        projectors: Mapping[str, nn.Module],
        embedding: Embedded = "encoders",
    ) -> None:
        super().__init__(encoders)
        self.projectors = nn.ModuleDict(projectors)
        self.embedding = embedding
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @classmethod
    def build(
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        projection: int = 32,
        embedding: Embedded = "encoders",
    ) -> CLIP:
        """Build CLIP with linear projectors; few dimensions leave no room for what the loss ignores."""
        positive(projection, "method.projection")
        projectors = {name: nn.Linear(width, projection, bias=False) for name in encoders}
        return cls(encoders, projectors, embedding)

    def represent(self, batch: Batch) -> Rows:
        return rows_of(batch, {(name,): row for name, row in pooled(self, batch.plain or {}).items()})

    def compare(self, rows: Rows) -> Step:
        projected = {name: self.projectors[name](rows.stacked((name,))) for name in self.modalities}
        scale = self.log_scale.exp().clamp(max=self.largest_scale)
        pairs: Contrasts = {
            (a, b): [(projected[a], projected[b])] for a, b in combinations(self.modalities, 2)
        }
        terms, accuracy = contrasted(pairs, rows, partial(clip_loss, scale=scale))
        loss = torch.stack(list(terms.values())).mean() if terms else 0.0 * scale
        return Step(loss, terms, accuracy=accuracy)

    def embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        """Return the encoders' outputs side by side, or the projections, which the loss compares."""
        projectors = self.projectors if self.embedding == "projections" else None
        return concatenated(self, view, modalities, projectors)
