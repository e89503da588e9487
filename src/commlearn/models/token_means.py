"""What each modality says before fusion, to stand beside the fused vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.models.tokens import Tokens, pool

__all__ = ["TokenMeans"]


class TokenMeans(nn.Module):
    """The mean token of each modality, standardised over training records; zero where there is none.

    A contrast makes the fused vector forget what augmentation changes; the tokens below it still hold
    it. Zero is the average record: a modality that is absent says nothing.

    Args:
        modalities: in schema order.
        width: of the tokens.

    Example:
        >>> means = TokenMeans(["image", "text"], width=4)
        >>> means({"text": Tokens(torch.ones(2, 3, 4))}).shape
        torch.Size([2, 8])
    """

    def __init__(self, modalities: Sequence[str], width: int) -> None:
        super().__init__()
        self.width = width
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(width, affine=False) for name in modalities})

    @torch.no_grad()
    def observe(self, tokens: Mapping[str, Tokens]) -> None:
        """Follow the mean and the deviation of the training records."""
        for name, norm in self.norms.items():
            means = pool(tokens[name])[_there(tokens[name])]
            if self.training and len(means) > 1:
                norm(means.float())

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """Side by side for all modalities, (batch, modalities * width)."""
        some = next(iter(tokens.values())).values
        parts = [some.new_zeros(some.shape[0], self.width)] * len(self.norms)
        for place, (name, norm) in enumerate(self.norms.items()):
            if name in tokens:
                known = cast(nn.BatchNorm1d, norm)
                means = F.batch_norm(pool(tokens[name]), known.running_mean, known.running_var)
                parts[place] = means * _there(tokens[name])[:, None]
        return torch.cat(parts, dim=1)


def _there(tokens: Tokens) -> Tensor:
    """Which records have a token at all, (batch,) bool."""
    if tokens.padding is None:
        return torch.ones(tokens.values.shape[0], dtype=torch.bool, device=tokens.values.device)
    return ~tokens.padding.all(dim=1)
