"""The fusion transformer: a learned [CLS] token reads the tokens of a subset of modalities.

[CLS] and the tokens of the subset are concatenated and go through pre-norm transformer layers; the
embedding is the final norm of the [CLS] row. Three exact savings make it cheap, for any number of
subsets:

1. Only the [CLS] row of the last layer is read, so only that row is computed.
2. A score is q . (W h) = (W^T q) . h: the single query goes through the key matrix, and the
   attention-weighted mean of h through the value matrix, instead of every token through both.
3. With one layer, the contribution of a modality (its score maximum, its sum of weights, its weighted
   mean) does not depend on the subset: it is computed once, and subsets only add contributions up.
   If tokens are few, each goes through the value matrix once, and all subsets through the rest at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from commlearn.batch import Subset
from commlearn.models.tokens import Tokens, tokens_of

FEW = 16  # most tokens per record for which all subsets are fused together
CLS = ""  # no modality has this name
SLOPE = 1.702  # slope of the sigmoid in the quick-GELU


def check_sizes(width: int, layers: int, heads: int) -> None:
    """Refuse sizes from which no attention can be built."""
    if min(width, layers, heads) < 1 or width % heads:
        raise ValueError(
            "A fusion needs at least one layer and a number of heads that divides its width; got "
            f"{layers} layers, {heads} heads, width {width}."
        )


class Fusion(nn.Module):
    """Fuses the tokens of any subset of modalities into one vector.

    Args:
        width: width of the tokens and of the embedding.
        layers: number of pre-norm transformer layers.
        heads: number of attention heads, which must divide the width.

    Example:
        >>> image, text = torch.ones(2, 16, 8), torch.ones(2, 8)  # 16 tokens a record, and one
        >>> Fusion(width=8)({"image": image, "text": text}, [("image", "text")])["image", "text"].shape
        torch.Size([2, 8])
    """

    def __init__(self, width: int, layers: int = 1, heads: int = 8) -> None:
        super().__init__()
        check_sizes(width, layers, heads)
        self.width = width
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.layers = nn.ModuleList(FusionLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, parts: Mapping[str, Tensor | Tokens], subsets: Iterable[Subset]
    ) -> dict[Subset, Tensor]:
        """Return the embedding of each subset, (batch, width).

        Args:
            parts: by modality, tokens, whose padding is ignored, or a plain tensor: (batch, length, width),
                or (batch, width) with one token per record.
            subsets: subsets of the modalities, such as `[("image",), ("image", "text")]`.
        """
        tokens, subsets = tokens_of(parts), list(subsets)
        if len(self.layers) > 1:
            return {subset: self._fuse_deep([tokens[name] for name in subset]) for subset in subsets}
        inputs = {name: tokens[name] for name in dict.fromkeys(name for subset in subsets for name in subset)}
        eager = not torch.compiler.is_compiling()  # a compiled graph takes any number of tokens
        if eager and sum(part.values.shape[1] for part in inputs.values()) <= FEW:
            return self._fuse_few(inputs, subsets)
        return {subset: self.norm(row) for subset, row in self.first_layer(tokens, subsets).items()}

    def first_layer(self, tokens: Mapping[str, Tokens], subsets: Iterable[Subset]) -> dict[Subset, Tensor]:
        """Return the [CLS] row of each subset; every modality is read once, however many subsets use it."""
        layer = cast(FusionLayer, self.layers[0])
        batch = next(iter(tokens.values())).values.shape[0]
        cls = self.cls.expand(batch, 1, -1)  # (batch, 1, width)
        reader = layer.reader(self.cls[None])
        cls_reading = layer.read(reader, Tokens(cls))
        readings = {name: layer.read(reader, sequence) for name, sequence in tokens.items()}
        return {
            subset: layer.conclude(cls[:, 0], [cls_reading, *(readings[name] for name in subset)])
            for subset in subsets
        }

    def _fuse_few(self, tokens: Mapping[str, Tokens], subsets: Sequence[Subset]) -> dict[Subset, Tensor]:
        """Fuse few tokens with one layer: all subsets go through its matrices side by side."""
        if not subsets:
            return {}
        layer = cast(FusionLayer, self.layers[0])
        rows = self.norm(layer.conclude_few(self.cls[None], tokens, subsets))  # (subsets * batch, width)
        return dict(zip(subsets, rows.chunk(len(subsets)), strict=True))

    def _fuse_deep(self, tokens: list[Tokens]) -> Tensor:
        """Fuse with several layers: compute all but the last in full, then only the [CLS] row of the last."""
        sequence = prepend(self.cls, tokens)
        for layer in self.layers[:-1]:
            sequence = Tokens(layer(sequence), sequence.padding)
        cls = sequence.values[:, 0]  # (batch, width)
        last = cast(FusionLayer, self.layers[-1])
        return self.norm(last.conclude(cls, [last.read(last.reader(cls), sequence)]))


class Reading(NamedTuple):
    """Contribution of one group of tokens to the attention of the [CLS] row."""

    peak: Tensor  # (batch, heads): the largest score, subtracted before exponentials
    weight: Tensor  # (batch, heads): the sum of exponentials
    content: Tensor  # (batch, heads, width): the sum of the tokens, weighted by the exponentials

    def split(self, askers: int) -> list[Reading]:
        """Split a reading made with the heads of several queries side by side into one reading for each."""
        return [
            Reading(*part) for part in zip(*(tensor.chunk(askers, dim=1) for tensor in self), strict=True)
        ]


class AttentionLayer(nn.Module):
    """Weights of a pre-norm layer: attention and a quick-GELU MLP, by default four times as wide inside."""

    def __init__(self, width: int, heads: int, feed_forward: int | None = None) -> None:
        super().__init__()
        inner = feed_forward or 4 * width
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # a key bias would cancel in the softmax
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, inner)
        self.contract = nn.Linear(inner, width)

    def attend(self, own: Tensor, asking: Tensor, others: Tokens) -> Tensor:  # (batch, length, width)
        """Return the rows after this layer; `asking` and the values of `others` are already normalised."""
        projected = (self.query(asking), self.key(others.values), self.value(others.values))
        query, key, value = (rearrange(rows, "b l (h e) -> b h l e", h=self.heads) for rows in projected)
        attended = None if others.padding is None else ~others.padding[:, None, None]  # (b, 1, 1, l)
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=attended)
        return self.feed(own + self.out(rearrange(context, "b h l e -> b l (h e)")))

    def feed(self, rows: Tensor) -> Tensor:
        """Add the MLP with its quick-GELU, computed as x sigmoid(a x) = silu(a x) / a, a single kernel."""
        scaled = F.linear(self.mlp_norm(rows), SLOPE * self.expand.weight, SLOPE * self.expand.bias)
        hidden = F.silu(scaled, inplace=not torch.is_grad_enabled())
        return rows + F.linear(hidden, self.contract.weight / SLOPE, self.contract.bias)


class FusionLayer(AttentionLayer):
    """A layer in which tokens attend to each other.

    Calling it computes all rows; `reader`, `read` and `conclude` compute only the first row.
    """

    def forward(self, sequence: Tokens) -> Tensor:  # (batch, length, width)
        rows = self.norm(sequence.values)
        return self.attend(sequence.values, rows, Tokens(rows, sequence.padding))

    def reader(self, cls: Tensor) -> Tensor:  # (batch or 1, width)
        """Return the query of the [CLS] row, multiplied by the key matrix of each head."""
        query = rearrange(self.query(self.norm(cls)), "b (h e) -> b h e", h=self.heads)
        key = rearrange(self.key.weight, "(h e) w -> h e w", h=self.heads)
        return torch.einsum("bhe,hew->bhw", query, key) / math.sqrt(query.shape[-1])

    def read(self, reader: Tensor, tokens: Tokens) -> Reading:
        """Return the contribution of `tokens` to the row whose query is `reader`."""
        rows = self.norm(tokens.values)  # (batch, length, width)
        scores = reader.expand(rows.shape[0], -1, -1) @ rows.transpose(1, 2)  # (batch, heads, length)
        if tokens.padding is not None:
            scores = scores.masked_fill(tokens.padding[:, None], float("-inf"))
        peak = scores.detach().amax(dim=-1).clamp(min=torch.finfo(scores.dtype).min)  # (batch, heads)
        weights = (scores - peak[..., None]).exp()  # (batch, heads, length)
        return Reading(peak, weights.sum(dim=-1), weights @ rows)

    def conclude(self, cls: Tensor, readings: list[Reading]) -> Tensor:
        """Return the [CLS] row after this layer, combined from all readings, (batch, width)."""
        peak = torch.stack([reading.peak for reading in readings]).amax(dim=0)  # (batch, heads)
        shares = [(reading.peak - peak).exp() for reading in readings]
        pairs = list(zip(shares, readings, strict=True))
        weight = torch.stack([share * part.weight for share, part in pairs]).sum(dim=0)  # (batch, heads)
        total = torch.stack([share[..., None] * part.content for share, part in pairs]).sum(dim=0)
        content = total / weight[..., None]  # (batch, heads, width)
        value = rearrange(self.value.weight, "(h e) w -> h e w", h=self.heads)
        context = torch.einsum("bhw,hew->bhe", content, value).flatten(1) + self.value.bias
        return self.feed(cls + self.out(context))

    def conclude_few(self, cls: Tensor, tokens: Mapping[str, Tokens], subsets: Sequence[Subset]) -> Tensor:
        """Return the [CLS] rows of several subsets, (subsets * batch, width), projecting each token once."""
        reader = self.reader(cls)[0].T  # (width, heads)
        sequences = {CLS: Tokens(cls[None]), **tokens}
        projections = {name: self._score(reader, part) for name, part in sequences.items()}
        cls_score, cls_value = projections[CLS]  # (1, 1, heads), (1, 1, heads, features)
        contexts = []
        for subset in subsets:
            scores = torch.cat([projections[name][0] for name in subset], dim=1)  # (batch, length, heads)
            all_scores = torch.cat([cls_score.expand(scores.shape[0], -1, -1), scores], dim=1)
            shares = all_scores.softmax(dim=1)[..., None]  # (batch, 1 + length, heads, 1)
            context, start = shares[:, 0] * cls_value[:, 0], 1
            for name in subset:
                value = projections[name][1]  # (batch, length, heads, features)
                part = shares[:, start : start + value.shape[1]]
                context = context + (part * value).sum(dim=1)
                start += value.shape[1]
            contexts.append(context.flatten(1))
        return self.feed(cls + self.out(torch.cat(contexts)))

    def _score(self, reader: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Return each token's score and values in each head; values are (batch, length, heads, features)."""
        rows = self.norm(tokens.values)  # (batch, length, width)
        scores = rows @ reader
        if tokens.padding is not None:
            scores = scores.masked_fill(tokens.padding[..., None], float("-inf"))
        return scores, self.value(rows).unflatten(-1, (self.heads, -1))


def prepend(cls: Tensor, tokens: list[Tokens]) -> Tokens:
    """Join [CLS] and the tokens of all given modalities into one sequence."""
    batch = tokens[0].values.shape[0]
    return joined([Tokens(cls.expand(batch, 1, -1)), *tokens])


def joined(tokens: list[Tokens]) -> Tokens:
    """Join the tokens of all given modalities into one sequence."""
    values = torch.cat([part.values for part in tokens], dim=1)
    if all(part.padding is None for part in tokens):
        return Tokens(values)
    return Tokens(values, torch.cat([~part.real for part in tokens], dim=1))
