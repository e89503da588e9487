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

The other fusions, at the end of this file, have its interface. They are deeper at less cost, or measure what
attention is worth. Each takes any number of modalities and any subset of them. A modality that a record lacks
(all of its tokens are padding) changes nothing, as if it were not in the subset.
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
from commlearn.models.tokens import Tokens, pool, tokens_of

Parts = Mapping[str, Tensor | Tokens]
FEW = 16  # most tokens per record for which all subsets are fused together
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

    def forward(self, parts: Parts, subsets: Iterable[Subset]) -> dict[Subset, Tensor]:
        """Return the embedding of each subset, (batch, width).

        Args:
            parts: by modality, tokens, whose padding is ignored, or a plain tensor: (batch, length, width),
                or (batch, width) with one token per record.
            subsets: subsets of the modalities, such as `[("image",), ("image", "text")]`.
        """
        tokens, subsets = tokens_of(parts), list(subsets)
        if not subsets:
            return {}
        if len(self.layers) > 1:
            return {subset: self._fuse_deep([tokens[name] for name in subset]) for subset in subsets}
        inputs = {name: tokens[name] for name in dict.fromkeys(name for subset in subsets for name in subset)}
        eager = not torch.compiler.is_compiling()  # a compiled graph takes any number of tokens
        if eager and sum(part.values.shape[1] for part in inputs.values()) <= FEW:
            layer = cast(FusionLayer, self.layers[0])
            rows = self.norm(layer.conclude_few(self.cls[None], inputs, subsets))  # (subsets * batch, width)
            return dict(zip(subsets, rows.chunk(len(subsets)), strict=True))
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
        parts = zip(*(tensor.chunk(askers, dim=1) for tensor in self), strict=True)
        return [Reading(*part) for part in parts]


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
        cls_token = Tokens(cls[None])  # (1, 1, width)
        cls_score, cls_value = self._score(reader, cls_token)  # (1, 1, heads), (1, 1, heads, features)
        projections = {name: self._score(reader, part) for name, part in tokens.items()}
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
    parts = [Tokens(cls.expand(tokens[0].values.shape[0], 1, -1)), *tokens]
    values = torch.cat([part.values for part in parts], dim=1)
    if all(part.padding is None for part in parts):
        return Tokens(values)
    return Tokens(values, torch.cat([~part.real for part in parts], dim=1))


class ClassAttentionFusion(Fusion):
    """A fusion whose learned token reads the encoders' unchanged tokens again in every layer.

    Each further layer costs one reading of the tokens, by all subsets at once, whereas a transformer
    layer costs all its products for every token and subset. With one layer this is the same as `Fusion`.
    (Class attention, from CaiT.)
    """

    def forward(self, parts: Parts, subsets: Iterable[Subset]) -> dict[Subset, Tensor]:
        """Return the embedding of each subset, (batch, width)."""
        tokens = tokens_of(parts)
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
        weights = joint.weight.detach().chunk(len(modalities), dim=1)
        maps = zip(modalities, (part.clone() for part in weights), strict=True)
        self.maps = nn.ParameterDict(dict(maps))
        self.after = after or nn.Identity()

    def forward(self, parts: Parts, subsets: Iterable[Subset]) -> dict[Subset, Tensor]:
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

    def forward(self, parts: Parts, subsets: Iterable[Subset]) -> dict[Subset, Tensor]:
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
