"""CMC (contrastive multiview coding): every pair of modalities must agree on which record is which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from torch import Tensor, nn

from commlearn.methods.base import Views
from commlearn.methods.separate import Contrasts, SeparateHeads
from commlearn.models.heads import positive


class CMC(SeparateHeads):
    """The mean NT-Xent over all pairs of modalities. Reaches what at least two of them share.

    Example:
        >>> import torch
        >>> from commlearn.batch import Modality
        >>> from commlearn.models.encoders import ENCODERS
        >>> encoders = {name: ENCODERS["linear"]((3,), width=8) for name in ("left", "right")}
        >>> view = {name: Modality(torch.ones(4, 3)) for name in encoders}
        >>> method = CMC.build(encoders, width=8)
        >>> method.embed(view).shape, method.embed(view, ["left"]).shape
        (torch.Size([4, 16]), torch.Size([4, 8]))
    """

    views = Views(augmented=1)
    modality_count = (2, None)

    @classmethod
    def build(
        cls, encoders: Mapping[str, nn.Module], width: int, temperature: float = 0.1, projection: int = 256
    ) -> CMC:
        """Build CMC with linear heads."""
        positive(projection, "method.projection")
        return cls(encoders, {name: nn.Linear(width, projection) for name in encoders}, temperature)

    def contrasts(self, views: Sequence[Mapping[str, Tensor]]) -> Contrasts:
        (view,) = views
        return {(a, b): [(view[a], view[b])] for a, b in combinations(self.modalities, 2)}
