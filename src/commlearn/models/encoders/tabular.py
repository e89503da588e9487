"""Encoders for tables with gaps and categories, and for raw vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from commlearn.batch import Modality
from commlearn.errors import ConfigurationError
from commlearn.models.adapters import FeatureTokenizer, VectorAdapter
from commlearn.models.features import FeatureValues, FixedFeatures
from commlearn.models.tokens import ModalityEncoder, TokenEncoder, Tokens


class AsItIs(nn.Module):
    """Passes values to the adapter unchanged."""

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return values, padding


def linear(shape: tuple[int, ...], width: int) -> ModalityEncoder:
    """Build an encoder that maps a vector to one token with a linear map."""
    return ModalityEncoder(AsItIs(), VectorAdapter(shape[0], width))


def features(shape: tuple[int, ...], width: int) -> ModalityEncoder:
    """Build an encoder that turns every number of a vector into a separate token."""
    return ModalityEncoder(AsItIs(), FeatureTokenizer(shape[0], width))


MISSING, OTHER = 0, 1  # codes of a cell without a category, and of a category not named in training


class TableTokenizer(nn.Module):
    """One token per column.

    A number becomes its value times a learned direction plus a learned bias, or a learned vector if it is
    missing. A category is a learned vector. That of unnamed categories is a learned step away from that of
    a missing one: if training has none, the step is never learned and they are read as missing. Numeric
    columns come first.
    """

    first: Tensor  # (categories,): the row of each column's code 0
    last: Tensor  # (categories,): the row of each column's last code

    def __init__(self, numbers: int, categories: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.columns = (numbers, len(categories))
        if numbers:
            self.numbers = FeatureTokenizer(numbers, width)
            self.missing = nn.Parameter(_draw_uniform(numbers, width))
        if categories:
            self.categories = nn.Parameter(_draw_uniform(sum(categories), width))
            sizes = torch.tensor(categories)
            first = sizes.cumsum(0) - sizes
            self.register_buffer("first", first, persistent=False)
            self.register_buffer("last", first + sizes - 1, persistent=False)
            with torch.no_grad():
                self.categories[first + OTHER] = 0.0

    def forward(self, cells: Tensor) -> Tensor:  # (batch, columns): numbers or NaN, then codes
        numbers, codes = cells.split(self.columns, dim=1)
        tokens = [self._numbers(numbers)] if self.columns[0] else []
        if self.columns[1]:
            tokens.append(self._categories(codes))
        return torch.cat(tokens, dim=1)  # (batch, columns, width)

    def _numbers(self, numbers: Tensor) -> Tensor:
        missing = numbers.isnan()
        filled = numbers.masked_fill(missing, 0.0)  # before any product: 0 times NaN is NaN
        return torch.where(missing[..., None], self.missing, self.numbers(filled))

    def _categories(self, codes: Tensor) -> Tensor:
        rows = self.first + codes.nan_to_num(MISSING).round().long().clamp(min=MISSING)
        rows = rows.minimum(self.last)  # (batch, columns)
        other = (rows == self.first + OTHER)[..., None]
        tokens = self.categories[rows]  # (batch, columns, width)
        return torch.where(other, tokens + self.categories[self.first], tokens)


class Stack(nn.Module):
    """Layers in sequence; a NaN is a missing value and is replaced by 0, the mean."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stack = nn.Sequential(*layers)

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.stack(values.masked_fill(values.isnan(), 0.0)), padding  # (batch, features)


def _perceptron(sizes: Sequence[int]) -> Stack:
    """Build linear layers with a ReLU between each two."""
    parts = [part for before, after in pairwise(sizes) for part in (nn.Linear(before, after), nn.ReLU())]
    return Stack(parts[:-1])


def tabular(shape: tuple[int, ...], width: int) -> ModalityEncoder:
    """Build an encoder that turns every column of a table into a token, even gaps and unseen categories."""
    return ModalityEncoder(AsItIs(), TableTokenizer(shape[0], tuple(shape[1:]), width))


def mlp(shape: tuple[int, ...], width: int, hidden: int = 256, layers: int = 2) -> ModalityEncoder:
    """Build an encoder that maps a vector to one token with a perceptron of `layers` linear maps."""
    if layers < 2 or hidden < 1:
        raise ConfigurationError(
            f"An mlp needs at least 2 layers and 1 hidden feature; got {layers} layers of {hidden}. For one "
            "layer, choose the encoder linear."
        )
    parts: list[nn.Module] = []
    for before, after in pairwise([shape[0], *[hidden] * (layers - 1)]):
        parts += [nn.Linear(before, after), nn.LayerNorm(after), nn.GELU()]
    return ModalityEncoder(Stack(parts), VectorAdapter(hidden, width))


def mlp_tokens(shape: tuple[int, ...], width: int, hidden: int = 10) -> ModalityEncoder:
    """Build a perceptron (MIMIC: 5-10-10), each of whose outputs becomes a token."""
    check_hidden("mlp_tokens", [hidden])
    return ModalityEncoder(_perceptron([shape[0], hidden, hidden]), FeatureTokenizer(hidden, width))


def perceptron(shape: tuple[int, ...], width: int, hidden: Sequence[int] = (32, 64, 128)) -> ModalityEncoder:
    """Build a perceptron (proprioception: 8-32-64-128-width) whose output is one token."""
    check_hidden("perceptron", hidden)
    one_token = nn.Unflatten(1, (1, width))  # (batch, width) -> (batch, 1, width)
    return ModalityEncoder(_perceptron([shape[0], *hidden, width]), one_token)


def check_hidden(name: str, sizes: Sequence[int]) -> None:
    """Refuse hidden layers without features."""
    if not sizes or min(sizes) < 1:
        raise ConfigurationError(f"The hidden sizes of {name} are {list(sizes)}; give numbers above 0.")


def _draw_uniform(rows: int, width: int) -> Tensor:
    bound = width**-0.5
    return torch.empty(rows, width).uniform_(-bound, bound)


FIXED = "fixed"  # the name of this encoder


class FeatureEncoder(TokenEncoder):
    """Encodes a modality through its fixed features.

    The features are not trained, and the model saves them only once.
    """

    def __init__(self, features: FixedFeatures, encoder: ModalityEncoder) -> None:
        super().__init__()
        self.held = [features]  # in a list, so that it is not a submodule
        self.reader = encoder

    @property
    def features(self) -> FixedFeatures:
        return self.held[0]

    def forward(self, modality: Modality) -> Tokens:
        if not isinstance(modality, FeatureValues):
            values = self.features.to(modality.values.device)(modality)  # (batch, dim)
            modality = FeatureValues(values, None, modality.present)
        return self.reader(modality)


def fixed(features: FixedFeatures, width: int, hidden: int = 256, layers: int = 2) -> FeatureEncoder:
    """Build an encoder that maps fixed features to one token with a perceptron of `layers` linear maps."""
    return FeatureEncoder(features, mlp((features.dim,), width, hidden, layers))
