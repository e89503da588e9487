"""In training, a module sees only the records that have its modality.

A batch norm would count an absent record as one of zeros. Absent records are therefore left out of a
module's input, and zeros are put back in their places in its output.
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
    """Picks the present rows for a module and puts its outputs back in their places.

    Fewer than two rows have no statistics: a module then sees one row twice, or zeros if there is none, and
    its running moments do not change. Its parameters thus always get a gradient, which other ranks wait for.

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
        """Return the present rows, (present, ...), but at least two."""
        if not len(self.places):
            return rows.new_zeros(2, *rows.shape[1:])
        return rows[self.places if len(self.places) > 1 else self.places.repeat(2)]

    def put_back(self, made: Tensor) -> Tensor:
        """Return a module's outputs in their rows, with zeros for the absent ones, (rows, ...)."""
        empty = made.new_zeros(self.count, *made.shape[1:])
        return empty.index_copy(0, self.places, made[: len(self.places)])

    def moments(self, module: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which a module's running moments move only if two or more rows are present."""
        return nullcontext() if len(self.places) > 1 else frozen_moments(module)


def encode_present(encoder: nn.Module, modality: Modality) -> Tokens:
    """Return the tokens of a modality; in training, the encoder sees only the records that have it."""
    if modality.present is None or not encoder.training:
        return encoder(modality)
    rows = PresentRows(modality.present)
    with rows.moments(encoder):
        tokens = encoder(replace(modality.apply(rows.pick), present=None)).apply(rows.put_back)
    padding = absent_as_padding(tokens.values, tokens.padding, modality.present)
    return replace(tokens, padding=padding, present=modality.present)


def project_present(head: nn.Module, vectors: Tensor, present: Tensor | None) -> Tensor:
    """Return a head's output for the vectors of records that are present, and zeros for the others.

    The vectors are ordered view by view, (views * records, width).
    """
    if present is None:
        return head(vectors)
    rows = PresentRows(present.repeat(len(vectors) // len(present)))
    with rows.moments(head):
        return rows.put_back(head(rows.pick(vectors)))


@contextmanager
def frozen_moments(module: nn.Module) -> Iterator[None]:
    """Keep the running moments inside a module from moving within this context.

    Batch norms still use the statistics of their batch.
    """
    trackers: list[Any] = [part for part in module.modules() if getattr(part, "track_running_stats", False)]
    for part in trackers:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in trackers:
            part.track_running_stats = True
