"""HRIL: each modality agrees with the fusion of all, and two regularisers keep what they share and combine.

The published loss has no contrast between the full fusions of both views. Synergy should instead come from a
term that spreads the modalities' joint second moment over many directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.errors import ConfigurationError
from commlearn.methods.base import Step
from commlearn.methods.comm import CoMM
from commlearn.methods.rows import Rows
from commlearn.models.fused_parts import Held, fused_parts
from commlearn.models.heads import HEAD, TemperatureChoice
from commlearn.objectives import alignment, concentration

DIRECTIONS = 24  # directions of each modality's projection that enter the joint second moment
ENTRIES = DIRECTIONS**3  # most entries of this moment; more than three modalities get fewer directions


class HRIL(CoMM):
    """CoMM's terms of single modalities, plus HRIL's alignment and synergy terms.

        L = sum_m InfoNCE(Z_m, Z_all) + align * L_align + synergy * L_syn

    The weights were not published; both are 1 by default.

    Args:
        encoders: one for each modality; they share the fusion's width.
        fusion: maps the tokens of a subset of modalities to one vector.
        head: maps this vector to the space of the loss.
        turn: orthonormal columns, (features of the head, directions), onto which projections are reduced.
        regularisers: the weights of alignment and synergy.
        parts: CoMM's arguments: subsets (each modality alone), temperature and beside.

    Example:
        >>> method = HRIL.build({"left": nn.Linear(3, 8), "right": nn.Linear(5, 8)}, width=8)
        >>> method.embed({"left": torch.rand(4, 3), "right": torch.rand(4, 5)}).shape
        torch.Size([4, 8])
    """

    modality_count = (2, None)
    turn: Tensor

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        turn: Tensor,
        regularisers: tuple[float, float] = (1.0, 1.0),
        **parts: Any,
    ) -> None:
        super().__init__(encoders, fusion, head, **parts)
        self.register_buffer("turn", turn)
        self.regularisers = regularisers

    @classmethod
    def build(  # type: ignore[override]
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        fusion: nn.Module | None = None,
        temperature: TemperatureChoice = 0.1,
        align: float = 1.0,
        synergy: float = 1.0,
        embedding: Held = "fused",
        head: tuple[int, int] = HEAD,
    ) -> HRIL:
        """Build HRIL with CoMM's fusion and head."""
        if min(align, synergy) < 0:
            raise ConfigurationError(
                f"method.align is {align} and method.synergy {synergy}; give weights of at least 0."
            )
        parts = fused_parts(encoders, width, fusion, "each", temperature, embedding, head)
        directions = min(DIRECTIONS, int(ENTRIES ** (1 / len(encoders)) + 1e-9), head[1])
        turn = torch.linalg.qr(torch.randn(head[1], directions)).Q
        return cls(**parts, turn=turn, regularisers=(align, synergy))

    def compare(self, rows: Rows) -> Step:
        views = self.project(rows)
        step = self.contrast(*views, rows)
        single = [(name,) for name in self.modalities]
        first, second = ([view[subset] for subset in single] for view in views)
        align = alignment(first, second, [rows.presence_mask(subset) for subset in single])
        complete = rows.presence_mask(self.modalities)
        synergy = torch.stack([self.concentrated(view, complete) for view in (first, second)]).mean()
        align_weight, synergy_weight = self.regularisers
        loss = len(single) * step.loss + (align_weight * align + synergy_weight * synergy)
        return Step(loss, {**step.terms, "align": align, "synergy": synergy}, accuracy=step.accuracy)

    def concentrated(self, projections: Sequence[Tensor], complete: Tensor | None) -> Tensor:
        """Return how far the joint second moment of the complete records is concentrated in one direction."""
        chosen = [part if complete is None else part[complete] for part in projections]
        if not len(chosen[0]):
            return projections[0].sum() * 0.0
        return concentration([F.normalize(part, dim=1) @ self.turn.to(part.dtype) for part in chosen])
