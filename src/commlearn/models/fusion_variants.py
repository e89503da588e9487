"""Alternatives to `Fusion` with its interface: deeper at less cost, or to measure what attention is worth.

Each takes any number of modalities and any subset of them. A modality that a record lacks (all of
its tokens are padding) changes nothing, as if it were not in the subset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.batch import Subset
from commlearn.models.fusion import AttentionLayer, Fusion, FusionLayer, check_sizes
from commlearn.models.tokens import Tokens, pool, tokens_of


class ClassAttentionFusion(Fusion):
    """A fusion whose learned token reads the encoders' unchanged tokens again in every layer.

    Each further layer costs one reading of the tokens, by all subsets at once, whereas a transformer
    layer costs all its products for every token and subset. With one layer this is the same as `Fusion`.
    (Class attention, from CaiT.)
    """

    def forward(
        self, parts: Mapping[str, Tensor | Tokens], subsets: Iterable[Subset]
    ) -> dict[Subset, Tensor]:
        """Return the embedding of each subset, (batch, width)."""
        tokens = tokens_of(parts)
        subsets = list(subsets)
        rows = self.first_layer(tokens, subsets)
        for layer in self.layers[1:]:
            rows = self._read_again(cast(FusionLayer, layer), rows, tokens)
        return {subset: self.norm(row) for subset, row in rows.items()}

    def _read_again(
        self, layer: FusionLayer, rows: dict[Subset, Tensor], tokens: Mapping[str, Tokens]
    ) -> dict[Subset, Tensor]:
        """Return the rows after one more layer; each modality is read once for all subsets that have it."""
        readers = {subset: layer.reader(row) for subset, row in rows.items()}  # (batch, heads, width)
        readings = {
            subset: [layer.read(readers[subset], Tokens(row[:, None]))] for subset, row in rows.items()
        }
        for name, sequence in tokens.items():
            matching = [subset for subset in rows if name in subset]
            if matching:
                combined = layer.read(torch.cat([readers[subset] for subset in matching], dim=1), sequence)
                for subset, part in zip(matching, combined.split(len(matching)), strict=True):
                    readings[subset].append(part)
        return {subset: layer.conclude(row, readings[subset]) for subset, row in rows.items()}


class ConcatFusion(nn.Module):
    """A fusion that concatenates mean tokens, zeros for modalities not in the subset, and maps the result.

    The first linear map of concatenated vectors is a sum of one map per modality, each of which is
    computed once for all subsets.
    """

    def __init__(self, modalities: Sequence[str], width: int, after: nn.Module | None = None) -> None:
        super().__init__()
        joint = nn.Linear(len(modalities) * width, width)  # only its initial values are used
        self.bias = nn.Parameter(joint.bias.detach().clone())
        self.maps = nn.ParameterDict(
            {
                name: part.clone()
                for name, part in zip(
                    modalities, joint.weight.detach().chunk(len(modalities), dim=1), strict=True
                )
            }
        )
        self.after = after or nn.Identity()

    def forward(
        self, parts: Mapping[str, Tensor | Tokens], subsets: Iterable[Subset]
    ) -> dict[Subset, Tensor]:
        """Return the embedding of each subset, (batch, width)."""
        tokens = tokens_of(parts)
        mapped = {name: F.linear(pool(sequence), self.maps[name]) for name, sequence in tokens.items()}
        return {
            subset: self.after(torch.stack([mapped[name] for name in subset]).sum(dim=0) + self.bias)
            for subset in subsets
        }


class CrossAttentionFusion(nn.Module):
    """A fusion that lets each modality's tokens read those of the others in the subset, then averages them.

    A learned token is always among those that are read, so that a single modality has something to read too.
    """

    def __init__(self, width: int, layers: int = 1, heads: int = 8) -> None:
        super().__init__()
        check_sizes(width, layers, heads)
        self.none = nn.Parameter(torch.randn(width) * 0.02)
        self.layers = nn.ModuleList(CrossLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, parts: Mapping[str, Tensor | Tokens], subsets: Iterable[Subset]
    ) -> dict[Subset, Tensor]:
        """Return the embedding of each subset, (batch, width)."""
        tokens = tokens_of(parts)
        return {subset: self._fuse({name: tokens[name] for name in subset}) for subset in subsets}

    def _fuse(self, tokens: dict[str, Tokens]) -> Tensor:
        for layer in self.layers:
            tokens = {
                name: Tokens(
                    layer(own, self._join_others([tokens[other] for other in tokens if other != name], own)),
                    own.padding,
                )
                for name, own in tokens.items()
            }
        means = torch.stack([pool(sequence) for sequence in tokens.values()])  # (modalities, batch, width)
        masks = [sequence.real.any(dim=1) for sequence in tokens.values()]
        present = torch.stack(masks).to(means.dtype)  # (modalities, batch)
        count = present.sum(dim=0).clamp(min=1)[:, None]
        return self.norm((means * present[..., None]).sum(dim=0) / count)

    def _join_others(self, others: list[Tokens], own: Tokens) -> Tokens:
        """Join the learned token and the others' tokens into one sequence."""
        batch = own.values.shape[0]
        values = torch.cat([self.none.expand(batch, 1, -1), *(part.values for part in others)], dim=1)
        start = torch.zeros(batch, 1, dtype=torch.bool, device=values.device)
        return Tokens(values, torch.cat([start, *(~part.real for part in others)], dim=1))


class CrossLayer(AttentionLayer):
    """A layer in which tokens attend to other tokens."""

    def forward(self, own: Tokens, others: Tokens) -> Tensor:  # (batch, length, width)
        context = Tokens(self.norm(others.values), others.padding)
        return self.attend(own.values, self.norm(own.values), context)
