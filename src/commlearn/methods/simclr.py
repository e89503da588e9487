"""SimCLR for each modality separately: what can be learned without ever seeing two of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from commlearn.methods.base import Views
from commlearn.methods.separate import Contrasts, SeparateHeads
from commlearn.models.heads import projection_head


class SimCLR(SeparateHeads):
    """NT-Xent between two augmented versions of the same modality; the embeddings are concatenated.

    Example:
        >>> import torch
        >>> from commlearn.batch import Modality
        >>> from commlearn.models.encoders import ENCODERS
        >>> encoders = {name: ENCODERS["linear"]((3,), width=8) for name in ("left", "right")}
        >>> view = {name: Modality(torch.ones(4, 3)) for name in encoders}
        >>> method = SimCLR.build(encoders, width=8)
        >>> method.embed(view).shape, method.embed(view, ["left"]).shape
        (torch.Size([4, 16]), torch.Size([4, 8]))
    """

    views = Views(augmented=2)

    @classmethod
    def build(cls, encoders: Mapping[str, nn.Module], width: int, temperature: float = 0.1) -> SimCLR:
        """Build SimCLR with a three-layer head for each modality."""
        return cls(encoders, {name: projection_head(width) for name in encoders}, temperature)

    def contrasts(self, views: Sequence[Mapping[str, Tensor]]) -> Contrasts:
        first, second = views
        return {(name,): [(first[name], second[name])] for name in self.modalities}
