"""Base of the methods that keep modalities separate: a head for each, and contrasts between pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from commlearn.batch import Batch, Subset, View, merge, subset_name
from commlearn.methods.base import Method, Step, absent_as_zero, pooled
from commlearn.methods.rows import Rows, rows_of
from commlearn.models.heads import positive
from commlearn.models.tokens import project_present
from commlearn.objectives import info_nce, retrieval_accuracy

Contrasts = dict[Subset, list[tuple[Tensor, Tensor]]]
"""By term: the pairs of projections to contrast; their losses are averaged."""


class SeparateHeads(Method):
    """NT-Xent between projections of single modalities; the embedding concatenates the encoder outputs.

    A subclass defines which projections are contrasted, and how the terms are combined into one loss.

    Args:
        encoders: one for each modality.
        heads: one for each modality, into the space of the loss.
        temperature: temperature of every contrast.
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module], heads: Mapping[str, nn.Module], temperature: float = 0.1
    ) -> None:
        super().__init__(encoders)
        self.heads = nn.ModuleDict(heads)
        self.temperature = positive(temperature, "method.temperature")

    def contrasts(self, views: Sequence[Mapping[str, Tensor]]) -> Contrasts:
        """Return the pairs to contrast, from every modality's projection in each view."""
        raise NotImplementedError

    def combine(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Combine the terms that this batch has records for into one loss; there may be none."""
        return mean_of(list(terms.values()), self)

    def represent(self, batch: Batch) -> Rows:
        vectors = pooled(self, merge(batch.augmented))  # each encoder runs once for all views
        return rows_of(batch, {(name,): stacked for name, stacked in vectors.items()})

    def compare(self, rows: Rows) -> Step:
        loss = partial(info_nce, temperature=self.temperature)
        terms, accuracy = contrasted(self.contrasts(self.project(rows)), rows, loss)
        return Step(self.combine(terms), terms, accuracy=accuracy)

    def project(self, rows: Rows) -> list[dict[str, Tensor]]:
        """Return every modality's projection, for each view."""
        views, projected = self.views.augmented, {}
        for name in self.modalities:
            stacked, present = rows.stacked((name,)), rows.presence_mask((name,))
            projected[name] = project_present(self.heads[name], stacked, present).chunk(views)
        return [{name: parts[i] for name, parts in projected.items()} for i in range(views)]

    def embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        return concatenated(self, view, modalities)


def contrasted(
    contrasts: Contrasts, rows: Rows, loss: Callable[..., Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the terms that this batch has records for, and their in-batch retrieval accuracy, by name."""
    terms, accuracy = {}, {}
    for subset, pairs in contrasts.items():
        mask = rows.presence_mask(subset)
        complete = pairs if mask is None else [(a[mask], b[mask]) for a, b in pairs]
        if mask is not None and len(complete[0][0]) < 2:  # too few records of this batch have it
            continue
        groups = rows.groups if rows.groups is None or mask is None else rows.groups[mask]
        losses = [loss(first, second, groups=groups) for first, second in complete]
        terms[subset_name(subset)] = torch.stack(losses).mean()
        accuracy[subset_name(subset)] = retrieval_accuracy(*complete[0])
    return terms, accuracy


def mean_of(terms: Sequence[Tensor], method: nn.Module) -> Tensor:
    """Return the mean of the terms or, without any, a zero that can be backpropagated."""
    return torch.stack(list(terms)).mean() if terms else 0.0 * next(method.parameters()).sum()


def concatenated(
    method: Method,
    view: View,
    modalities: Sequence[str] | None,
    projectors: Mapping[str, nn.Module] | nn.ModuleDict | None = None,
) -> Tensor:
    """Return the pooled encoder outputs of the chosen modalities side by side, projected if requested."""
    chosen = method.subset(modalities, view)
    vectors = pooled(method, view, chosen)
    if projectors is not None:
        vectors = {name: projectors[name](vector) for name, vector in vectors.items()}
    return torch.cat([absent_as_zero(vectors[name], view[name]) for name in chosen], dim=1)
