"""COrAL: learns the fused vector and a unique vector of each modality separately, and keeps them orthogonal.

The two views of a record hide complementary tokens. One view shows a few tokens of a modality and the other
view the rest, so fused vectors agree only if what is hidden in one modality is inferred from the others.
(2026)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from commlearn.batch import Batch, Subset, merge, subset_name
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Step, absent_as_zero, accuracies
from commlearn.methods.comm import CoMM
from commlearn.methods.rows import Rows, rows_of
from commlearn.models.fused_parts import fused_parts
from commlearn.models.heads import HEAD, TemperatureChoice, projection_head, term_temperatures
from commlearn.models.tokens import Tokens, pool
from commlearn.objectives import comm_terms, orthogonality


class COrAL(CoMM):
    """Contrasts the fused vector and each modality's unique vector across views; all are kept orthogonal.

        L = InfoNCE(Z, Z') + sum_m InfoNCE(U_m, U_m') + orthogonal * sum of squared cosines of Z and all U_m

    Published for two modalities. Which modalities are mostly hidden in the first view, and which in the
    second, is drawn for each record. A modality with a single token hides nothing.

    Args:
        encoders: one for each modality; they share the fusion's width.
        unique: by modality, a module that maps its mean token to its unique vector.
        heads: by modality, a module that maps this vector to the space of its contrast.
        share: share of a modality's tokens that one view hides; the other hides the rest. 0 hides nothing.
        orthogonal: weight of the squared cosines.
        embedding: what is embedded; `fused+unique` means all vectors side by side.
        parts: CoMM's arguments: fusion, head and temperature.

    Example:
        >>> method = COrAL.build({"left": nn.Linear(3, 8), "right": nn.Linear(5, 8)}, width=8)
        >>> view = {"left": torch.rand(4, 3), "right": torch.rand(4, 5)}
        >>> method.embed(view).shape, method.embed(view, ["left"]).shape
        (torch.Size([4, 24]), torch.Size([4, 16]))
    """

    draws = True  # which tokens to hide

    modality_count = (2, None)

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        unique: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
        share: float = 0.75,
        orthogonal: float = 10.0,
        embedding: Literal["fused", "fused+unique"] = "fused+unique",
        **parts: Any,
    ) -> None:
        if not 0 <= share <= 1 or orthogonal < 0:
            raise ConfigurationError(
                f"method.share is {share} and method.orthogonal {orthogonal}; give a share from 0 to 1 and a "
                "weight of at least 0."
            )
        super().__init__(encoders, **parts)
        self.unique, self.heads = nn.ModuleDict(unique), nn.ModuleDict(heads)
        self.share, self.orthogonal, self.embedding = share, orthogonal, embedding

    @classmethod
    def build(  # type: ignore[override]
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        fusion: nn.Module | None = None,
        temperature: TemperatureChoice = 0.1,
        share: float = 0.75,
        orthogonal: float = 10.0,
        embedding: Literal["fused", "fused+unique"] = "fused+unique",
        head: tuple[int, int] = HEAD,
    ) -> COrAL:
        """Build COrAL with CoMM's fusion, and heads like CoMM's."""
        parts = fused_parts(encoders, width, fusion, "each_and_all", temperature, "fused", head)
        unique = {
            name: nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width)
            )
            for name in encoders
        }
        heads = {name: projection_head(width, *head) for name in encoders}
        return cls(
            unique=unique, heads=heads, share=share, orthogonal=orthogonal, embedding=embedding, **parts
        )

    def represent(self, batch: Batch) -> Rows:
        tokens, full = self.encode(merge(batch.augmented)), self.modalities
        visible = hide_complements(tokens, self.share) if self.share else tokens
        vectors = self.fusion(visible, [full])
        for name in full:
            vectors[name,] = self.unique[name](pool(visible[name]))
        return rows_of(batch, vectors)

    def head_of(self, subset: Subset) -> nn.Module:
        """Return the head of the fused vector, or of a modality's unique vector."""
        return self.head if subset == self.modalities else self.heads[subset[0]]

    def contrast(self, first: Mapping[Subset, Tensor], second: Mapping[Subset, Tensor], rows: Rows) -> Step:
        """Return the loss: each vector agrees with itself in the other view and is orthogonal to the rest."""
        present = self.present(rows)
        temperatures = term_temperatures(self.temperature, self.subsets, self.modalities, rows.progress)
        terms = {}
        for subset in self.subsets:
            views = {subset: first[subset]}, {subset: second[subset]}
            result = comm_terms(*views, subset, temperatures[subset], present, rows.groups)
            terms[subset_name(subset)] = result[subset]
        masks = [present.get(subset) for subset in self.subsets]
        penalty = orthogonality(
            [rows.stacked(subset) for subset in self.subsets],
            [None if mask is None else mask.repeat(2) for mask in masks],
        )
        accuracy = accuracies({subset: (first[subset], second[subset]) for subset in self.subsets}, present)
        contrasts = Step(torch.stack(list(terms.values())).sum(), terms, accuracy=accuracy)
        return contrasts.plus("orthogonal", penalty, self.orthogonal)

    def with_beside(self, tokens: Mapping[str, Tokens], fused: Tensor) -> Tensor:
        """Return the fused vector and, with `fused+unique`, the unique ones after it, zeros if absent."""
        if self.embedding == "fused":
            return fused
        unique = [absent_as_zero(self.unique[name](pool(part)), part) for name, part in tokens.items()]
        return torch.cat([fused, *unique], dim=1)


def hide_complements(tokens: Mapping[str, Tokens], share: float) -> dict[str, Tokens]:
    """Return the tokens of two views, (2 * records, length, width), with complementary tokens hidden.

    One view hides `share` of a modality's tokens and the other hides the rest, so that no token is shown in
    both; if the share rounds to no token, nothing is hidden. The first view hides `share` of half of the
    modalities, drawn for each record, and the second view that of the others. Each view shows at least one
    token. Hidden tokens are marked as padding, so they are never attended.
    """
    example = next(iter(tokens.values())).values
    records, device = len(example) // 2, example.device
    order = torch.rand(records, len(tokens), device=device).argsort(dim=1)  # random order of the modalities
    swap = torch.rand(records, 1, device=device) < 0.5
    hides_share = (order % 2 == 0) ^ swap  # (records, modalities): whether the first view hides `share`
    hidden = {}
    for (name, part), in_first in zip(tokens.items(), hides_share.unbind(dim=1), strict=True):
        length = part.values.shape[1]
        draw = torch.rand(records, length, device=device).repeat(2, 1)  # the same for both views
        padding = torch.zeros_like(draw, dtype=torch.bool) if part.padding is None else part.padding
        rank = draw.masked_fill(padding, 2.0).argsort(dim=1).argsort(dim=1)  # padding comes last
        count = (~padding).sum(dim=1, keepdim=True)  # (2 * records, 1)
        quota = (share * count).round().minimum(count - 1)
        complement = (rank >= quota) & (quota > 0)
        mask = torch.where(torch.cat([in_first, ~in_first])[:, None], rank < quota, complement)
        hidden[name] = Tokens(part.values, padding | mask, part.present)
    return hidden
