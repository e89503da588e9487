"""What CoMM has in common with the methods derived from it: one network fuses any subset of the modalities.

The embedding may hold further vectors next to the fused one (`beside`), and the fused vectors may also have
to predict each modality (`prediction`). Both are parts that are left out by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from commlearn.batch import Batch, Modality, Subset, merge, single_and_all, subset_name, view_of
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method, Step
from commlearn.methods.rows import Rows
from commlearn.models.fused_parts import PREDICTED, SelfPrediction, mean_error
from commlearn.models.heads import Temperature
from commlearn.models.token_means import TokenMeans
from commlearn.models.tokens import Tokens


class FusingMethod(Method):
    """Fuses the tokens of each subset of modalities into one vector; its arguments are those of CoMM."""

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        subsets: Sequence[Subset] | None,
        temperature: float | nn.Module,
        beside: TokenMeans | None,
        prediction: SelfPrediction | None,
    ) -> None:
        super().__init__(encoders)
        self.fusion, self.head = fusion, head
        self.subsets = tuple(subsets or single_and_all(self.modalities))
        self.projected = tuple(dict.fromkeys((*self.subsets, self.modalities)))
        self.temperature = Temperature(temperature) if isinstance(temperature, int | float) else temperature
        self.beside, self.prediction = beside, prediction

    def fused_views(self, batch: Batch) -> tuple[dict[str, Tokens], dict[Subset, Tensor]]:
        """Return the tokens of both augmented views, stacked, and the fused vector of every subset."""
        view = merge(batch.augmented)
        tokens = self.encode(view)  # each encoder runs once for both views
        fused = self.fusion(tokens, self.projected)
        if self.beside is not None and self.beside.count_step():
            self.beside.follow(self.tokens_beside(tokens), fused, partial(self.fusion, tokens))
        if self.prediction is not None:
            fused = {**fused, PREDICTED: self.prediction(view, tokens, fused)}
        return tokens, fused

    def project(self, rows: Rows) -> tuple[dict[Subset, Tensor], dict[Subset, Tensor]]:
        """Return what the loss compares of each subset, for each of the two views."""
        raise NotImplementedError

    def head_of(self, subset: Subset) -> nn.Module:
        """Return the head that projects the vector of a subset."""
        return self.head

    def present(self, rows: Rows) -> dict[Subset, Tensor]:
        """Return which records have each subset that some lack; the full fusion uses what a record has."""
        return rows.masks(subset for subset in self.subsets if subset != self.modalities)

    def with_prediction(self, step: Step, rows: Rows) -> Step:
        """Add the error of predicting each modality to a loss, if the method has heads for it."""
        if self.prediction is None:
            return step
        return step.plus("prediction", mean_error(rows.vectors[PREDICTED]), self.prediction.weight)

    def forward(
        self,
        first: Mapping[str, Tensor | Modality],
        second: Mapping[str, Tensor | Modality],
        padding: Mapping[str, Tensor] | None = None,
        present: Mapping[str, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the projections of two augmented views of the same records, by subset, for `CoMMLoss`.

        Args:
            first: values by modality, (batch, ...) each; a `Modality` if a view has its own padding.
            second: the same records, augmented independently.
            padding: masks of the modalities that are padded, (batch, length) bool each, True = ignore.
            present: masks of the modalities that some records lack, (batch,) bool each, True = present.
        """
        if self.prediction is not None:
            raise ConfigurationError(
                "CoMMLoss does not train the heads that `prediction` adds; `steps` does. Build the method "
                "with prediction=0, or minimise the loss of its steps."
            )
        views = tuple(view_of(view, padding, present) for view in (first, second))
        for view in views:
            self.subset(None, view)  # raises an error if a modality is missing
        projections = self.project(self.represent(Batch(augmented=views)))
        named_first, named_second = (
            {subset_name(key): rows for key, rows in view.items()} for view in projections
        )
        return named_first, named_second

    def with_beside(self, tokens: Mapping[str, Tokens], fused: Tensor) -> Tensor:
        """Return the fused vector, followed by what the embedding holds next to it."""
        if self.beside is None:
            return fused
        return torch.cat([fused, self.beside(self.tokens_beside(tokens), fused)], dim=1)

    def tokens_beside(self, tokens: Mapping[str, Tokens]) -> Mapping[str, Tokens]:
        """Return the tokens whose means are placed next to the fused vector."""
        return tokens

    def fuse(self, view: Mapping[str, Tensor | Modality], modalities: Sequence[str] | None = None) -> Tensor:
        """Return the fused vector alone, (batch, width): what the head was trained on."""
        view = view_of(view)
        subset = self.subset(modalities, view)
        return self.fusion(self.encode(view, subset), [subset])[subset]
