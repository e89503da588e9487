"""Cross+Self (SLIP-like): aligns modalities with each other, and each with its own augmented version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from commlearn.batch import Batch, Subset, subset_name
from commlearn.errors import ConfigurationError, unknown
from commlearn.methods.base import Step, Views
from commlearn.methods.comm import CoMM
from commlearn.methods.rows import Rows, rows_of
from commlearn.methods.separate import Contrasts, SeparateHeads, mean_of
from commlearn.models.fused_parts import Held, fused_parts
from commlearn.models.heads import HEAD, TemperatureChoice, projection_head
from commlearn.models.token_means import TokenMeans
from commlearn.models.tokens import Tokens, pool


class CrossSelf(SeparateHeads):
    """NT-Xent across modalities plus half the sum of NT-Xent within each. Reaches shared and unique.

    Args:
        encoders: one for each modality.
        heads: one for each modality, into the space of the loss.
        temperature: temperature of every contrast.
        within: modalities that are contrasted with themselves; all by default. Naming only the images
            makes it SLIP with a fixed temperature.
        self_weight: weight of the contrasts of modalities with themselves.
        self_rise: training steps in which this weight rises from 0; without them it is constant.

    Example:
        >>> import torch
        >>> from commlearn.batch import Modality, subset_name
        >>> from commlearn.models.encoders import ENCODERS
        >>> encoders = {name: ENCODERS["linear"]((3,), width=8) for name in ("left", "right")}
        >>> view = {name: Modality(torch.ones(4, 3)) for name in encoders}
        >>> method = CrossSelf.build(encoders, width=8)
        >>> method.embed(view).shape, method.embed(view, ["left"]).shape
        (torch.Size([4, 16]), torch.Size([4, 8]))
    """

    views = Views(augmented=2)
    step_count: Tensor  # training steps so far, if the weight of Self rises

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
        temperature: float = 0.1,
        within: Sequence[str] | None = None,
        self_weight: float = 0.5,
        self_rise: int = 0,
    ) -> None:
        super().__init__(encoders, heads, temperature)
        for name, value in {"self_weight": self_weight, "self_rise": self_rise}.items():
            if value < 0:
                raise ConfigurationError(f"method.{name} is {value}; give 0 or more.")
        for name in within or ():
            if name not in self.encoders:
                raise ConfigurationError(f"method.within: {unknown('modality', name, self.modalities)}")
        self.within = tuple(self.modalities if within is None else within)
        self.self_weight, self.self_rise = self_weight, self_rise
        if self_rise:
            self.register_buffer("step_count", torch.zeros((), dtype=torch.long))

    @classmethod
    def build(
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        temperature: float = 0.1,
        within: list[str] | None = None,
        self_weight: float = 0.5,
        self_rise: int = 0,
    ) -> CrossSelf:
        """Build Cross+Self with a three-layer head for each modality."""
        heads = {name: projection_head(width) for name in encoders}
        return cls(encoders, heads, temperature, within, self_weight, self_rise)

    def contrasts(self, views: Sequence[Mapping[str, Tensor]]) -> Contrasts:
        first, second = views
        pairs: Contrasts = {
            (a, b): [(view[a], view[b]) for view in views] for a, b in combinations(self.modalities, 2)
        }
        return pairs | {(name,): [(first[name], second[name])] for name in self.within}

    def combine(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the mean over pairs of modalities plus the weighted sum over single modalities."""
        names = [subset_name(pair) for pair in combinations(self.modalities, 2)]
        cross = mean_of([terms[name] for name in names if name in terms], self)
        weight = self.weight_of_self()
        return cross + sum((weight * terms[name] for name in self.within if name in terms), 0.0 * cross)

    def weight_of_self(self) -> float | Tensor:
        """Count a training step; return the weight of the contrasts of modalities with themselves in it."""
        if not self.self_rise:
            return self.self_weight
        self.step_count += self.training
        return self.self_weight * (self.step_count / self.self_rise).clamp(max=1.0)


class CoMMCrossSelf(CoMM):
    """CoMM on the fused vectors, Cross+Self on each modality's mean token; both are embedded.

        L = L_CoMM + weight * L_Cross+Self

    A high temperature on fused vectors captures synergy but loses what single modalities show; a low
    temperature on the tokens keeps the latter and learns shared information sooner. Cross+Self sees the
    tokens through a linear map. If it is narrow, a linear readout of the whole embedding has less noise to
    separate from the synergy.

    Args:
        encoders: one for each modality; they share the fusion's width.
        fusion: maps the tokens of a subset of modalities to one vector.
        head: maps this vector to the space of CoMM's loss.
        token_loss: Cross+Self with a head for each modality; its own encoders are not used.
        narrow: by modality, a linear map from its tokens to what Cross+Self sees and the embedding holds.
        token_weight: weight of that loss.
        temperature: CoMM's: a number, or a module if it is learned, changes or differs between terms.
        parts: CoMM's other arguments: subsets, beside and prediction.

    Example:
        >>> import torch
        >>> model = CoMMCrossSelf.build({"left": nn.Linear(3, 8), "right": nn.Linear(5, 8)}, width=8)
        >>> model.embed({"left": torch.rand(4, 3), "right": torch.rand(4, 5)}).shape
        torch.Size([4, 24])
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        token_loss: CrossSelf,
        narrow: Mapping[str, nn.Module],
        token_weight: float = 0.5,
        temperature: float | nn.Module = 0.5,
        **parts: Any,
    ) -> None:
        super().__init__(encoders, fusion, head, temperature=temperature, **parts)
        self.token_loss = token_loss
        self.narrow = nn.ModuleDict(narrow)
        self.token_weight = token_weight

    @classmethod
    def build(  # type: ignore[override]
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        fusion: nn.Module | None = None,
        subsets: str = "each_and_all",
        temperature: TemperatureChoice = 0.5,
        token_weight: float = 0.5,
        token_width: int = 128,
        self_weight: float = 0.5,
        embedding: Held = "fused+tokens",
        head: tuple[int, int] = HEAD,
        prediction: float = 0.0,
        self_rise: int = 0,
    ) -> CoMMCrossSelf:
        """Build both as published, except for CoMM's temperature and tokens of at most `token_width`."""
        if token_weight < 0:
            raise ConfigurationError(f"method.token_weight is {token_weight}; give 0 or more.")
        if token_width < 1:
            raise ConfigurationError(f"method.token_width is {token_width}; give 1 or more.")
        token_width = min(token_width, width)
        parts = fused_parts(encoders, width, fusion, subsets, temperature, embedding, head, prediction)
        if embedding == "fused+tokens":
            parts["beside"] = TokenMeans(list(encoders), token_width, width)
        token_loss = CrossSelf.build(
            {name: nn.Identity() for name in encoders},
            token_width,
            self_weight=self_weight,
            self_rise=self_rise,
        )
        narrow = {name: nn.Linear(width, token_width, bias=False) for name in encoders}
        return cls(**parts, token_loss=token_loss, narrow=narrow, token_weight=token_weight)

    def represent(self, batch: Batch) -> Rows:
        tokens, fused = self.fused_views(batch)
        means = {mean_token(name): pool(part) for name, part in self.tokens_beside(tokens).items()}
        return rows_of(batch, fused | means)

    def tokens_beside(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        return {name: replace(part, values=self.narrow[name](part.values)) for name, part in tokens.items()}

    def compare(self, rows: Rows) -> Step:
        step = super().compare(rows)
        means: dict[Subset, Tensor] = {(name,): rows.vectors[mean_token(name)] for name in self.modalities}
        token_step = self.token_loss.compare(replace(rows, vectors=means))
        return Step(
            loss=step.loss + self.token_weight * token_step.loss,
            terms=step.terms | {f"tokens: {name}": term for name, term in token_step.terms.items()},
            accuracy=step.accuracy
            | {f"tokens: {name}": value for name, value in token_step.accuracy.items()},
        )


def mean_token(name: str) -> Subset:
    """Return the key of a modality's mean token among the subsets."""
    return "mean token", name
