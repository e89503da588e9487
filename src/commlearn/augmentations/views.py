"""Makes the views that a method declared: the record as it is, and augmented versions of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from commlearn.data.batch import Batch, Modality, View
from commlearn.data.records import Spec

__all__ = ["Augmentation", "make_batch"]


class Augmentation(Protocol):
    """Changes every record of one modality at random, each with its own parameters."""

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        """An augmented version; every random number comes from `generator` (on the CPU)."""
        ...


def make_batch(
    view: View,
    targets: dict[str, Tensor],
    augmentations: Mapping[str, Augmentation],
    generator: torch.Generator,
    plain: bool,
    augmented: int,
    specs: Mapping[str, Spec] | None = None,
) -> Batch:
    """The batch that a method asked for; nothing that it did not ask for is computed."""
    versions = tuple(
        {
            name: augmentations[name](modality, generator, (specs or {}).get(name))
            if name in augmentations
            else modality
            for name, modality in view.items()
        }
        for _ in range(augmented)
    )
    return Batch(plain=view if plain else None, augmented=versions, targets=targets)
