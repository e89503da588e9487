"""InfMasking: CoMM in which the full fusion must also agree with heavily masked versions of itself.

Whichever few tokens of each modality are left, together they must identify the whole record, so the
network has to combine scattered information. (NeurIPS 2025)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from commlearn.batch import Batch, Subset
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Step
from commlearn.methods.comm import CoMM
from commlearn.methods.rows import Rows, rows_of
from commlearn.models.fused_parts import Held, fused_parts
from commlearn.models.heads import HEAD, TemperatureChoice, half_cosine, term_temperatures
from commlearn.models.tokens import Tokens
from commlearn.objectives import masked_contrast

MASKED: Subset = ("masked versions of all",)  # a key among the subsets, not the name of a modality


@dataclass(frozen=True)
class Masking:
    """How tokens are masked, and the weight of the term of the masked versions."""

    versions: int = 6  # masked versions of each view
    share: tuple[float, float] = (0.6, 0.8)  # least and largest share of a record's tokens to mask
    weight: tuple[float, float] = (0.0, 1.0)  # weight of the term at the start and the end of training

    def __post_init__(self) -> None:
        least, most = self.share
        if self.versions < 2 or not 0 <= least <= most <= 1 or min(self.weight) < 0:
            raise ConfigurationError(
                "Masking needs at least 2 versions, shares with 0 <= least <= most <= 1 and weights of at "
                f"least 0; got {self.versions}, {self.share} and {self.weight}."
            )

    def weight_at(self, progress: float) -> float:
        """Return the weight after this share of the training, on half a cosine from start to end."""
        return half_cosine(*self.weight, progress)


class InfMasking(CoMM):
    """CoMM with one more term: the whole record against all masked versions of its other view.

    Args:
        encoders: one for each modality; they share the fusion's width.
        fusion: maps the tokens of a subset of modalities to one vector.
        head: maps this vector to the space of the loss.
        masking: how tokens are masked, and the weight of that term.
        parts: CoMM's arguments: subsets, temperature, beside and prediction.

    Example:
        >>> import torch
        >>> method = InfMasking.build({"left": nn.Linear(3, 8), "right": nn.Linear(5, 8)}, width=8)
        >>> view = {"left": torch.rand(4, 3), "right": torch.rand(4, 5)}
        >>> method.embed(view).shape, method.embed(view, ["left"]).shape
        (torch.Size([4, 8]), torch.Size([4, 8]))
    """

    draws = True  # which tokens to hide

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        masking: Masking,
        **parts: Any,
    ) -> None:
        super().__init__(encoders, fusion, head, **parts)
        self.masking = masking

    @classmethod
    def build(  # type: ignore[override]
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        fusion: nn.Module | None = None,
        subsets: str = "each_and_all",
        temperature: TemperatureChoice = 0.1,
        versions: int = Masking.versions,
        share: tuple[float, float] = Masking.share,
        weight: tuple[float, float] = Masking.weight,
        embedding: Held = "fused",
        head: tuple[int, int] = HEAD,
        prediction: float = 0.0,
    ) -> InfMasking:
        """Build InfMasking with CoMM's published fusion and head."""
        masking = Masking(versions, (share[0], share[1]), (weight[0], weight[1]))
        parts = fused_parts(encoders, width, fusion, subsets, temperature, embedding, head, prediction)
        return cls(**parts, masking=masking)

    def represent(self, batch: Batch) -> Rows:
        tokens, fused = self.fused_views(batch)
        full, masking = self.modalities, self.masking
        masked = [self.fusion(hide(tokens, masking.share), [full])[full] for _ in range(masking.versions)]
        return rows_of(batch, {**fused, MASKED: torch.cat(masked)})

    def compare(self, rows: Rows) -> Step:
        first, second = self.project(rows)
        step = self.contrast(first, second, rows)
        projected = self.head(rows.stacked(MASKED)).unflatten(0, (self.masking.versions, 2, -1))
        masked_first, masked_second = projected.unbind(dim=1)  # (versions, records, dim)
        full = self.modalities
        temperature = term_temperatures(self.temperature, [full], full, rows.progress)[full]
        halves = (
            masked_contrast(first[full], masked_second, temperature, rows.groups),
            masked_contrast(second[full], masked_first, temperature, rows.groups),
        )
        return step.plus("masked", (halves[0] + halves[1]) / 2, self.masking.weight_at(rows.progress))


def hide(tokens: Mapping[str, Tokens], share: tuple[float, float]) -> dict[str, Tokens]:
    """Return the tokens with a random share of each record's tokens hidden; at least one always stays.

    Hidden tokens are marked as padding, so they are never attended.
    """
    lengths = [part.values.shape[1] for part in tokens.values()]
    example = next(iter(tokens.values())).values
    draw = torch.rand(len(example), sum(lengths), device=example.device)  # (batch, all tokens)
    for part, block in zip(tokens.values(), draw.split(lengths, dim=1), strict=True):
        if part.padding is not None:
            block.masked_fill_(part.padding, -1.0)
    least, most = share
    threshold = least + (most - least) * torch.rand(len(example), 1, device=example.device)  # (batch, 1)
    visible = (draw >= threshold) | (draw == draw.amax(dim=1, keepdim=True))
    hidden = (~visible | (draw < 0)).split(lengths, dim=1)
    return {
        name: Tokens(part.values, padding)
        for (name, part), padding in zip(tokens.items(), hidden, strict=True)
    }
