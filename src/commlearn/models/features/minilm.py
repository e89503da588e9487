"""MiniLM (Wang et al., 2020) as a sentence encoder: 384 features of a text, by weights of a package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

TOKENIZER = "tokenizer.json"  # beside the weights
LONGEST = 128  # pieces of a text that are read, as when the weights were trained
STEP = 16  # lengths are multiples of it: those of one length go through the network together

WIDTH, HIDDEN, HEADS, LAYERS = 384, 1536, 12, 6
PIECES, PLACES = 30_522, 512
NORM = 1e-12


def pieces(texts: Sequence[str], tokenizer: Path) -> list[Tensor]:
    """Ids of the word pieces of each text, 0 up to the next multiple of 16; of an empty text 0 alone.

    Args:
        texts: in English; other languages fall apart into letters.
        tokenizer: the file of the network's own.
    """
    encodings = _tokenizer(tokenizer).encode_batch(list(texts))
    ids = [torch.tensor(one.ids if text else [0]) for text, one in zip(texts, encodings, strict=True)]
    return [F.pad(one, (0, -len(one) % STEP)) for one in ids]


@lru_cache(maxsize=1)
def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return tokenizer


class Layer(nn.Module):
    """Attention and a perceptron, each added to what it reads and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.grow, self.shrink = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.first, self.second = (nn.LayerNorm(WIDTH, eps=NORM) for _ in range(2))

    def forward(self, states: Tensor, real: Tensor) -> Tensor:
        query, key, value = (
            rearrange(linear(states), "b n (h d) -> b h n d", h=HEADS)
            for linear in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None, :])
        states = self.first(states + self.out(rearrange(mixed, "b h n d -> b n (h d)")))
        return self.second(states + self.shrink(F.gelu(self.grow(states))))


class MiniLM(nn.Module):
    """Ids of word pieces, (batch, length), 0 = none, to (batch, 384): the mean state, of length one.

    Example:
        >>> MiniLM()(torch.tensor([[101, 7592, 102, 0]])).shape
        torch.Size([1, 384])
    """

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(PIECES, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.kinds = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=NORM)
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])

    @classmethod
    def published(cls, file: Path) -> MiniLM:
        """With the published weights."""
        network = cls()
        names = (_published_name(name) for name in network.state_dict())
        tensors = load_file(file)
        network.load_state_dict(
            dict(zip(network.state_dict(), (tensors[name] for name in names), strict=True))
        )
        return network

    def forward(self, ids: Tensor) -> Tensor:
        real = ids != 0
        states = self.words(ids) + self.places.weight[: ids.shape[1]] + self.kinds.weight[0]  # (b, n, width)
        states = self.norm(states)
        seen = real | ~real.any(dim=1, keepdim=True)  # of no text at all: something to attend to
        for layer in self.layers:
            states = layer(states, seen)
        return F.normalize((states * real[..., None]).sum(dim=1), dim=1)


def _published_name(name: str) -> str:
    """What the published weights call a tensor.

    Example:
        >>> _published_name("layers.3.query.weight"), _published_name("words.weight")
        ('encoder.layer.3.attention.self.query.weight', 'embeddings.word_embeddings.weight')
    """
    parts = {
        "words": "embeddings.word_embeddings",
        "places": "embeddings.position_embeddings",
        "kinds": "embeddings.token_type_embeddings",
        "norm": "embeddings.LayerNorm",
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "out": "attention.output.dense",
        "first": "attention.output.LayerNorm",
        "grow": "intermediate.dense",
        "shrink": "output.dense",
        "second": "output.LayerNorm",
    }
    *before, part, sort = name.split(".")
    return ".".join([*(["encoder.layer", before[1]] if before else []), parts[part], sort])
