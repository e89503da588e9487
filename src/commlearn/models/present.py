"""In training, a module sees only the records that have its modality.

A batch norm would count an absent record as one of zeros. So absent records are left out before a module,
and put back after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from commlearn.batch import Modality
from commlearn.models.tokens import Tokens, absent_as_padding


class PresentRows:
    """Picks the rows that are present for a module, and puts what it makes of them back in their places.

    Fewer than two have no statistics: a module then sees one row twice, or zeros where there is none, and
    its running moments stay as they are. So its parameters always get a gradient, for which ranks wait.

    Example:
        >>> import torch
        >>> rows = PresentRows(torch.tensor([True, False, True]))
        >>> rows.put_back(rows.pick(torch.tensor([1.0, 2.0, 3.0])))
        tensor([1., 0., 3.])
    """

    def __init__(self, present: Tensor) -> None:
        self.count = len(present)
        self.places = present.nonzero()[:, 0]

    def pick(self, rows: Tensor) -> Tensor:
        """The present rows, (present, ...)."""
        if not len(self.places):
            return rows.new_zeros(2, *rows.shape[1:])
        return rows[self.places if len(self.places) > 1 else self.places.repeat(2)]

    def put_back(self, made: Tensor) -> Tensor:
        """What was made of them, with zeros for the others, (rows, ...)."""
        empty = made.new_zeros(self.count, *made.shape[1:])
        return empty.index_copy(0, self.places, made[: len(self.places)])

    def moments(self, module: nn.Module) -> AbstractContextManager[None]:
        """Whether the running moments of a module take note of the rows that are picked."""
        return nullcontext() if len(self.places) > 1 else moments_at_rest(module)


def encode_present(encoder: nn.Module, modality: Modality) -> Tokens:
    """Tokens of a modality; while it learns, its encoder sees the records that have it alone."""
    if modality.present is None or not encoder.training:
        return encoder(modality)
    rows = PresentRows(modality.present)
    with rows.moments(encoder):
        tokens = encoder(replace(modality.apply(rows.pick), present=None)).apply(rows.put_back)
    padding = absent_as_padding(tokens.values, tokens.padding, modality.present)
    return replace(tokens, padding=padding, present=modality.present)


def project_present(head: nn.Module, vectors: Tensor, present: Tensor | None) -> Tensor:
    """What a head makes of the vectors of records that are present; zeros for the others.

    The vectors are view by view, (views * records, width).
    """
    if present is None:
        return head(vectors)
    rows = PresentRows(present.repeat(len(vectors) // len(present)))
    with rows.moments(head):
        return rows.put_back(head(rows.pick(vectors)))


@contextmanager
def moments_at_rest(module: nn.Module) -> Iterator[None]:
    """While it lasts, what a module sees does not move the running moments inside it.

    Batch norms go on using the statistics of their batch.
    """
    moving: list[Any] = [part for part in module.modules() if getattr(part, "track_running_stats", False)]
    for part in moving:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in moving:
            part.track_running_stats = True
