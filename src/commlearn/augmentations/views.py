"""Views that a method declared: the records as they are, and augmented versions of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from commlearn.batch import Batch, Modality, Spec, View
from commlearn.errors import ConfigurationError


class Augmentation(Protocol):
    """Changes every record of one modality at random, each with its own parameters."""

    def __call__(self, modality: Modality, generator: torch.Generator, spec: Spec | None = None) -> Modality:
        """Return an augmented version; every random number comes from `generator` (on the CPU)."""
        ...


@runtime_checkable
class Plans(Protocol):
    """An augmentation that can draw its random numbers now and do the work later, part by part."""

    def plan(
        self, modality: Modality, generator: torch.Generator, spec: Spec | None = None
    ) -> Callable[[slice], Modality]:
        """Return a function that augments a slice of the records, the same way on each call."""
        ...


def check_share(name: str, share: float, whole: bool = True) -> None:
    """Reject a setting that is not a share from 0 to 1, or that is 1 if `whole` is false."""
    if not 0 <= share <= 1 or (share == 1 and not whole):
        raise ConfigurationError(
            f"{name} is {share}; give a share of at least 0 and {'at most' if whole else 'less than'} 1."
        )


def check_size(name: str, size: float) -> None:
    """Reject a setting that is negative or infinite."""
    if not 0 <= size < math.inf:
        raise ConfigurationError(f"{name} is {size}; give a number of at least 0.")


def check_range(name: str, bounds: Sequence[float], most: float = math.inf) -> None:
    """Reject a setting that is not a lower and an upper bound between 0 and `most`."""
    if len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1] <= most or math.isinf(bounds[1]):
        limit = "at least 0" if math.isinf(most) else f"from 0 to {most:g}"
        raise ConfigurationError(f"{name} is {list(bounds)}; give a lower and an upper bound, both {limit}.")


def make_batch(
    view: View,
    targets: dict[str, Tensor],
    augmentations: Mapping[str, Augmentation],
    generator: torch.Generator,
    plain: bool,
    augmented: int,
    specs: Mapping[str, Spec] | None = None,
) -> Batch:
    """Make the batch that a method declared; nothing else is computed."""
    return plan_batch(view, targets, augmentations, generator, plain, augmented, specs)(slice(None))


def plan_batch(
    view: View,
    targets: dict[str, Tensor],
    augmentations: Mapping[str, Augmentation],
    generator: torch.Generator,
    plain: bool,
    augmented: int,
    specs: Mapping[str, Spec] | None = None,
    sources: Sequence[View] = (),
) -> Callable[[slice], Batch]:
    """Plan a batch whose parts are made on request; all random numbers are drawn now.

    Args:
        view: the records as they are.
        targets: targets of the records, by name.
        augmentations: augmentations by modality; a modality without one is not changed.
        generator: source of all random numbers.
        plain: whether the batch holds the records as they are.
        augmented: number of augmented versions that the batch holds; not used with `sources`.
        specs: kind and shape of each modality.
        sources: a view per augmented version to make it from; if not given, `view` for each.

    Returns:
        A function that makes the batch for a slice of the records. The parts together are the batch of
        `make_batch`, and the same part is the same however often it is made.
    """
    versions = [
        {
            name: _plan(augmentations.get(name), modality, generator, (specs or {}).get(name))
            for name, modality in source.items()
        }
        for source in (sources or [view] * augmented)
    ]

    def make_part(rows: slice) -> Batch:
        return Batch(
            plain={name: _take(modality, rows) for name, modality in view.items()} if plain else None,
            augmented=tuple({name: make(rows) for name, make in version.items()} for version in versions),
            targets={name: values[rows] for name, values in targets.items()},
        )

    return make_part


def _plan(
    augmentation: Augmentation | None, modality: Modality, generator: torch.Generator, spec: Spec | None
) -> Callable[[slice], Modality]:
    if isinstance(augmentation, Plans):
        return augmentation.plan(modality, generator, spec)
    augmented = modality if augmentation is None else augmentation(modality, generator, spec)
    return lambda rows: _take(augmented, rows)


def _take(modality: Modality, rows: slice) -> Modality:
    return modality.apply(lambda tensor: tensor[rows])
