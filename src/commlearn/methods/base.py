"""The contract of a method: which views it needs, what it minimises, what it embeds.

`FusingMethod` is what CoMM has in common with the methods derived from it: one network fuses any subset of
the modalities.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from commlearn.batch import Batch, Modality, Subset, View, merge, single_and_all, subset_name, view_of
from commlearn.errors import ConfigurationError, unknown
from commlearn.methods.rows import Rows
from commlearn.models.fused_parts import PREDICTED, SelfPrediction, mean_error
from commlearn.models.heads import Temperature
from commlearn.models.token_means import TokenMeans
from commlearn.models.tokens import Tokens, encode_present, pool
from commlearn.objectives import retrieval_accuracy
from commlearn.records import Records


@dataclass(frozen=True)
class Views:
    """The versions of each record that a method needs; data loading produces exactly these."""

    plain: bool = False  # the record without augmentation
    augmented: int = 2  # number of independently augmented versions
    targets: bool = False  # labels; most methods must not see them


@dataclass(frozen=True)
class Step:
    """A loss to minimise, with its parts by name."""

    loss: Tensor
    terms: dict[str, Tensor]
    group: str = "main"  # name of the parameter group that it updates
    accuracy: dict[str, Tensor] = field(default_factory=dict)  # in-batch retrieval accuracy, by term

    def plus(self, name: str, term: Tensor, weight: float) -> Step:
        """Return the same step with one more term in its loss."""
        return replace(self, loss=self.loss + weight * term, terms={**self.terms, name: term})


class Method(nn.Module):
    """Learns from views of records, and embeds any subset of the modalities it was trained on.

    A subclass sets `views` and `draws`, and implements `build`, `embed` and how it learns: `represent` and
    `compare` if it has one loss, so that a batch can be computed in parts; otherwise `steps`.

    Args:
        encoders: one for each modality, in schema order.
    """

    views: ClassVar[Views] = Views()
    steps_per_batch: ClassVar[int] = 1
    draws: ClassVar[bool] = False  # whether its steps draw random numbers, apart from encoders and fusion
    modality_count: ClassVar[tuple[int, int | None]] = (1, None)  # fewest and most; None: no limit

    def __init__(self, encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        fewest, most = self.modality_count
        if len(self.modalities) < fewest or (most is not None and len(self.modalities) > most):
            required = f"{fewest}" if most == fewest else f"at least {fewest}"
            raise ConfigurationError(
                f"{type(self).__name__} needs {required} modalities; the data have {len(self.modalities)} "
                f"({', '.join(self.modalities)}). Choose another method, such as comm."
            )

    @classmethod
    def build(cls, encoders: Mapping[str, nn.Module], width: int) -> Method:
        """Build the method from its published parts and the given encoders, which share one width.

        Further keyword arguments of a subclass are its options: recipes and the command line
        set them by name.
        """
        raise NotImplementedError

    @property
    def modalities(self) -> Subset:
        """Names of the modalities it is trained on, in schema order."""
        return tuple(self.encoders)

    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yield each loss after the optimizer step for the previous one: two players take two steps."""
        yield self.compare(self.represent(batch).gathered())

    def represent(self, batch: Batch) -> Rows:
        """Return what the loss needs of each record, computed for each record independently."""
        raise NotImplementedError

    def compare(self, rows: Rows) -> Step:
        """Return the loss of a batch, from the rows of all its parts and ranks; every rank gets the same."""
        raise NotImplementedError

    def embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        """Return embeddings of the records, (batch, dim), from all or some of the trained modalities."""
        raise NotImplementedError

    def check_records(self, records: Records) -> None:
        """Reject records that this method cannot learn from, before anything is trained."""

    def parameter_groups(self) -> dict[str, list[Parameter]]:
        """Return the parameters that each player updates."""
        return {"main": [parameter for parameter in self.parameters() if parameter.requires_grad]}

    def encode(self, view: View, names: Sequence[str] | None = None) -> dict[str, Tokens]:
        """Return the tokens of each named modality; modalities that are already tokens are kept."""
        tokens = {}
        for name in names or self.modalities:
            part = view[name]
            tokens[name] = part if isinstance(part, Tokens) else encode_present(self.encoders[name], part)
        return tokens

    def subset(self, modalities: Sequence[str] | None, view: Collection[str]) -> Subset:
        """Return the chosen modalities in schema order; reject those that were not trained or not given."""
        requested = self.modalities if modalities is None else tuple(modalities)
        for name in requested:
            if name not in self.encoders:
                raise ConfigurationError(unknown("modality", name, self.modalities))
            if name not in view:
                raise ConfigurationError(
                    f"Modality '{name}' is not in the data, which have {', '.join(view)}. Embed only the "
                    "others with modalities=[...]."
                )
        if not requested:
            raise ConfigurationError(f"Name at least one modality: {', '.join(self.modalities)}.")
        return tuple(name for name in self.modalities if name in requested)


class FusingMethod(Method):
    """Fuses the tokens of each subset of modalities into one vector; its arguments are those of CoMM.

    The embedding may hold further vectors next to the fused one (`beside`), and the fused vectors may also
    have to predict each modality (`prediction`). Both are parts that are left out by default.
    """

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


def pooled(method: Method, view: View, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Return each modality's mean token, (batch, width)."""
    return {name: pool(tokens) for name, tokens in method.encode(view, names).items()}


def absent_as_zero(vector: Tensor, modality: Modality) -> Tensor:
    """Return the vectors, with zeros for records that lack the modality."""
    return vector if modality.present is None else vector * modality.present[:, None].to(vector.dtype)


def accuracies(
    pairs: Mapping[Subset, tuple[Tensor, Tensor]], present: Mapping[Subset, Tensor]
) -> dict[str, Tensor]:
    """Return how often rows of one side retrieve their counterparts on the other, by term.

    A single record would always find itself, so a term with only one is skipped.
    """
    return {
        subset_name(subset): retrieval_accuracy(*sides, present.get(subset))
        for subset, sides in pairs.items()
        if subset not in present or present[subset].sum() > 1
    }


def term_weights(weights: Mapping[str, float], subsets: Sequence[Subset]) -> dict[Subset, float]:
    """Return the weight of each subset's term: the one given by name, such as `image+text`, or 1."""
    names = {subset_name(subset): subset for subset in subsets}
    for name, weight in weights.items():
        if name not in names:
            raise ConfigurationError(f"method.weights: {unknown('term', name, names)}")
        if not float(weight) >= 0:
            raise ConfigurationError(f"method.weights.{name} is {weight}; give 0 or more.")
    by_subset = {subset: float(weights.get(name, 1.0)) for name, subset in names.items()}
    if not sum(by_subset.values()) > 0:
        raise ConfigurationError("method.weights are all 0; give at least one term a weight above 0.")
    return by_subset


def weighted_mean(terms: Mapping[Subset, Tensor], weights: Mapping[Subset, float]) -> Tensor:
    """Return the weighted mean of the terms."""
    total = sum(weights[subset] for subset in terms)
    return torch.stack([weights[subset] / total * term for subset, term in terms.items()]).sum()
