"""The contract of a method: which views it needs, what it minimises, what it embeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from commlearn.batch import Batch, Modality, Subset, View, subset_name
from commlearn.errors import ConfigurationError, unknown
from commlearn.methods.rows import Rows
from commlearn.models.present import encode_present
from commlearn.models.tokens import Tokens, pool
from commlearn.objectives import retrieval_accuracy
from commlearn.records import Records


@dataclass(frozen=True)
class Views:
    """What a method needs of each record; the data side makes exactly this."""

    plain: bool = False  # the record as it is
    augmented: int = 2  # how many independently augmented versions
    targets: bool = False  # labels; most methods must not see them


@dataclass(frozen=True)
class Step:
    """One loss to descend, with its parts by name."""

    loss: Tensor
    terms: dict[str, Tensor]
    group: str = "main"  # which parameters it updates
    accuracy: dict[str, Tensor] = field(default_factory=dict)  # in-batch retrieval, by term

    def plus(self, name: str, term: Tensor, weight: float) -> Step:
        """The same step with a further term in its loss."""
        return replace(self, loss=self.loss + weight * term, terms={**self.terms, name: term})


class Method(nn.Module):
    """Learns from views of records; embeds any subset of the modalities it was trained on.

    A subclass states `views` and whether it `draws`, and implements `build`, `embed`, and how it learns:
    `represent` and `compare` if it has one loss, whose batch can then be computed in parts; else `steps`.

    Args:
        encoders: one for each modality, in schema order.
    """

    views: ClassVar[Views] = Views()
    steps_per_batch: ClassVar[int] = 1
    draws: ClassVar[bool] = False  # random numbers in its steps, beside those of encoders and fusion
    modality_count: ClassVar[tuple[int, int | None]] = (1, None)  # the fewest and the most

    def __init__(self, encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        fewest, most = self.modality_count
        if len(self.modalities) < fewest or (most is not None and len(self.modalities) > most):
            wanted = f"{fewest}" if most == fewest else f"at least {fewest}"
            raise ConfigurationError(
                f"{type(self).__name__} needs {wanted} modalities; the data have {len(self.modalities)} "
                f"({', '.join(self.modalities)}). Choose another method, such as comm."
            )

    @classmethod
    def build(cls, encoders: Mapping[str, nn.Module], width: int) -> Method:
        """The method with its published parts around given encoders of one width.

        Further keyword arguments of a subclass are its options: recipes and the command line
        set them by name.
        """
        raise NotImplementedError

    @property
    def modalities(self) -> Subset:
        """Names of what it was trained on, in schema order."""
        return tuple(self.encoders)

    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yields a loss, waits until it was descended, and so on: two players take two steps."""
        yield self.compare(self.represent(batch).gathered())

    def represent(self, batch: Batch) -> Rows:
        """What the loss needs of each record, computed for each record independently."""
        raise NotImplementedError

    def compare(self, rows: Rows) -> Step:
        """The loss of a batch, from the rows of all of its parts and of all ranks: on every rank the same."""
        raise NotImplementedError

    def embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        """Embeddings of records, (batch, dim), from all or some of the trained modalities."""
        raise NotImplementedError

    def check_records(self, records: Records) -> None:
        """Refuse records that this method cannot learn from, before anything is trained."""

    def parameter_groups(self) -> dict[str, list[Parameter]]:
        """The parameters that each player updates."""
        return {"main": [parameter for parameter in self.parameters() if parameter.requires_grad]}

    def encode(self, view: View, names: Sequence[str] | None = None) -> dict[str, Tokens]:
        """Tokens of each named modality; what is encoded already stays as it is."""
        tokens = {}
        for name in names or self.modalities:
            part = view[name]
            tokens[name] = part if isinstance(part, Tokens) else encode_present(self.encoders[name], part)
        return tokens

    def subset(self, modalities: Sequence[str] | None, view: View) -> Subset:
        """The chosen modalities in schema order, checked against what was trained and what is there."""
        wanted = self.modalities if modalities is None else tuple(modalities)
        for name in wanted:
            if name not in self.encoders:
                raise ConfigurationError(unknown("modality", name, self.modalities))
            if name not in view:
                raise ConfigurationError(
                    f"Modality '{name}' is not in the data, which has {', '.join(view)}. Embed the others "
                    "alone with modalities=[...]."
                )
        if not wanted:
            raise ConfigurationError(f"Name at least one modality of {', '.join(self.modalities)}.")
        return tuple(name for name in self.modalities if name in wanted)


def present_rows(view: View, subset: Subset) -> Tensor | None:
    """Which records have every modality of the subset; None if all do."""
    masks = [mask for name in subset if (mask := view[name].present) is not None]
    return torch.stack(masks).all(dim=0) if masks else None


def pooled(method: Method, view: View, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Each modality's mean token, (batch, width)."""
    return {name: pool(tokens) for name, tokens in method.encode(view, names).items()}


def absent_as_zero(vector: Tensor, modality: Modality) -> Tensor:
    """Rows of records that lack the modality become zero."""
    return vector if modality.present is None else vector * modality.present[:, None].to(vector.dtype)


def accuracies(
    pairs: Mapping[Subset, tuple[Tensor, Tensor]], present: Mapping[Subset, Tensor]
) -> dict[str, Tensor]:
    """How often rows of one side retrieve those of the other, by term.

    A single record would always find itself, so it is skipped.
    """
    return {
        subset_name(subset): retrieval_accuracy(*sides, present.get(subset))
        for subset, sides in pairs.items()
        if subset not in present or present[subset].sum() > 1
    }


def term_weights(weights: Mapping[str, float], subsets: Sequence[Subset]) -> dict[Subset, float]:
    """The weight of each subset's term: as given by its name, such as `image+text`, else 1."""
    names = {subset_name(subset): subset for subset in subsets}
    for name, weight in weights.items():
        if name not in names:
            raise ConfigurationError(f"method.weights: {unknown('term', name, names)}")
        if not float(weight) >= 0:
            raise ConfigurationError(f"method.weights.{name} is {weight}; give 0 or more.")
    chosen = {subset: float(weights.get(name, 1.0)) for name, subset in names.items()}
    if not sum(chosen.values()) > 0:
        raise ConfigurationError("method.weights are all 0; give at least one term a weight above 0.")
    return chosen


def weighted_mean(terms: Mapping[Subset, Tensor], weights: Mapping[Subset, float]) -> Tensor:
    """The mean of the terms, each counted as often as its weight says."""
    total = sum(weights[subset] for subset in terms)
    return torch.stack([weights[subset] / total * term for subset, term in terms.items()]).sum()
