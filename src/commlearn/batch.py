"""The data that flow through the library: named modalities of a batch of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain, combinations
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.errors import ConfigurationError, unknown

Subset = tuple[str, ...]
"""Names of modalities, in schema order."""
UP_TO = re.compile(r"up_to_([1-9][0-9]*)")


def as_names(given: Sequence[str] | None) -> list[str] | None:
    """Return names of modalities as a list; a single name becomes a list of one.

    Example:
        >>> as_names("left"), as_names(["left", "right"]), as_names(None)
        (['left'], ['left', 'right'], None)
    """
    return [given] if isinstance(given, str) else None if given is None else list(given)


def subset_name(subset: Subset) -> str:
    """Return the name of a subset in logs and tables.

    Example:
        >>> subset_name(("image", "text"))
        'image+text'
    """
    return "+".join(subset)


def choose_subsets(choice: str, modalities: Subset) -> tuple[Subset, ...]:
    """Return the subsets that a name stands for.

    Args:
        choice: `each_and_all` (the paper's), `each`, `all`, `every` (every possible subset), or `up_to_2`
            (all subsets of at most 2 modalities, and all modalities together).
        modalities: in schema order.

    Example:
        >>> [subset_name(subset) for subset in choose_subsets("up_to_2", ("a", "b", "c"))]
        ['a', 'b', 'c', 'a+b', 'a+c', 'b+c', 'a+b+c']
    """
    if match := UP_TO.fullmatch(choice):
        return _up_to(int(match[1]), modalities)
    choices: dict[str, Callable[[], tuple[Subset, ...]]] = {  # lazy: "every" makes many
        "each_and_all": lambda: single_and_all(modalities),
        "each": lambda: tuple((name,) for name in modalities),
        "all": lambda: (modalities,),
        "every": lambda: _up_to(len(modalities), modalities),
    }
    if choice not in choices:
        raise ConfigurationError(f"method.subsets: {unknown('choice', choice, [*choices, 'up_to_2'])}")
    return choices[choice]()


def single_and_all(modalities: Subset) -> tuple[Subset, ...]:
    """Return the paper's n + 1 subsets: each modality alone, and all of them.

    Example:
        >>> single_and_all(("image", "text"))
        (('image',), ('text',), ('image', 'text'))
    """
    singles = tuple((name,) for name in modalities)
    return singles if len(modalities) == 1 else (*singles, modalities)


def all_but_one(modalities: Subset) -> tuple[Subset, ...]:
    """Return the subsets that leave out exactly one modality.

    Example:
        >>> all_but_one(("a", "b", "c"))
        (('b', 'c'), ('a', 'c'), ('a', 'b'))
        >>> all_but_one(("a",))
        ()
    """
    rests = [tuple(other for other in modalities if other != name) for name in modalities]
    return tuple(rest for rest in rests if rest)


def _up_to(size: int, modalities: Subset) -> tuple[Subset, ...]:
    sizes = range(1, min(size, len(modalities)) + 1)
    subsets = [subset for k in sizes for subset in combinations(modalities, k)]
    return tuple(dict.fromkeys([*subsets, modalities]))


def blank_values(spec: Spec, records: int = 1, steps: int = 1) -> torch.Tensor:
    """Return values of a modality without information, to try out a network.

    Example:
        >>> blank_values(Spec("series", (3,)), records=2, steps=5).shape
        torch.Size([2, 5, 3])
    """
    if spec.kind == "image":
        return torch.zeros(records, *spec.shape, dtype=torch.uint8)
    if spec.kind == "text":
        return torch.ones(records, steps, dtype=torch.long)
    if spec.kind == "tabular":  # numbers, then one code for each category
        return torch.zeros(records, spec.shape[0] + len(spec.shape) - 1)
    return torch.zeros(records, *((steps,) if spec.kind in ("series", "audio") else ()), *spec.shape)


class Spec(NamedTuple):
    """What is needed to build an encoder for a modality."""

    kind: str  # image, vector, ...
    shape: tuple[int, ...]  # shape of one record's values; image: channels, height, width; vector: features


@dataclass(frozen=True)
class Modality:
    """One modality of a batch of records."""

    values: Tensor  # (batch, ...) of one kind
    padding: Tensor | None = None  # (batch, length) bool, True = ignore, everywhere and always
    present: Tensor | None = None  # (batch,) bool, False = the record lacks this modality

    def __len__(self) -> int:
        return len(self.values)

    @property
    def real(self) -> Tensor:
        """Which steps are not padding, (batch, length) bool."""
        if self.padding is None:
            return torch.ones(self.values.shape[:2], dtype=torch.bool, device=self.values.device)
        return ~self.padding

    @property
    def presence(self) -> Tensor:
        """Which records have the modality, (batch,) bool."""
        if self.present is None:
            return torch.ones(len(self), dtype=torch.bool, device=self.values.device)
        return self.present

    def apply(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the same modality with `change` applied to each of its tensors."""
        parts: dict[str, Any] = {attribute.name: getattr(self, attribute.name) for attribute in fields(self)}
        return replace(
            self, **{name: change(part) for name, part in parts.items() if isinstance(part, Tensor)}
        )

    def with_values(self, values: Tensor) -> Modality:
        return replace(self, values=values)


View = dict[str, Modality]
"""Named modalities of the same records, in schema order."""


@dataclass(frozen=True)
class Batch:
    """What a method sees in a step: the views that it declared, and targets if it declared them."""

    plain: View | None = None
    augmented: tuple[View, ...] = ()
    targets: dict[str, Tensor] = field(default_factory=dict)
    progress: float = 0.0  # share of the training that is done
    groups: Tensor | None = None  # (batch,) int64: records of one group are not each other's negatives

    def __len__(self) -> int:
        view = self.plain if self.plain is not None else self.augmented[0]
        return len(next(iter(view.values())))


def merge(views: Sequence[View]) -> View:
    """Stack views of the same modalities along the batch, so that an encoder runs once for all."""
    return {name: _stacked([view[name] for view in views]) for name in views[0]}


def joined(parts: Sequence[Modality]) -> Modality:
    """Stack a modality of several groups of records along the batch, padded to the longest.

    Example:
        >>> joined([Modality(torch.ones(1, 2)), Modality(torch.ones(1, 3))]).padding.tolist()
        [[False, False, True], [False, False, False]]
    """
    length = max(part.values.shape[1] for part in parts)
    return _stacked([_padded(part, length) for part in parts])


def view_of(
    values: Mapping[str, Tensor | Modality],
    padding: Mapping[str, Tensor] | None = None,
    present: Mapping[str, Tensor] | None = None,
) -> View:
    """Wrap plain tensors as the modalities of the same records; a `Modality` is kept unchanged.

    Args:
        values: by modality, (batch, ...) each.
        padding: masks of the modalities that are padded, (batch, length) bool each, True = ignore.
        present: masks of the modalities that some records lack, (batch,) bool each, False = absent.

    Example:
        >>> view_of({"ecg": torch.ones(2, 9, 3)}, present={"ecg": torch.tensor([True, False])})["ecg"].present
        tensor([ True, False])
    """
    padding, present = padding or {}, present or {}
    for name in (*padding, *present):
        if name not in values:
            raise ConfigurationError(unknown("modality", name, values))
    return {
        name: part if isinstance(part, Modality) else Modality(part, padding.get(name), present.get(name))
        for name, part in values.items()
    }


def has_observation_marks(modality: Modality) -> bool:
    """Return whether the second half of a series' channels marks the first as observed (1) or not (0).

    Example:
        >>> marked = torch.tensor([[[0.7, 1.0], [0.0, 0.0], [0.2, 1.0]]])  # (batch, length, channels)
        >>> has_observation_marks(Modality(marked)), has_observation_marks(Modality(marked + 0.5))
        (True, False)
    """
    values = modality.values.flatten(2)
    half = values.shape[2] // 2
    if values.shape[2] % 2 or not half:
        return False
    values = values[modality.real]
    numbers, marks = values[:, :half], values[:, half:]
    return bool(((marks == 0) | (marks == 1)).all() and (numbers[marks == 0] == 0).all())


def to_device(view: View, device: torch.device | str) -> View:
    return {
        name: modality.apply(lambda tensor: tensor.to(device, non_blocking=True))
        for name, modality in view.items()
    }


def _padded(part: Modality, length: int) -> Modality:
    missing = length - part.values.shape[1]
    if not missing:
        return part
    values = F.pad(part.values, [0, 0] * (part.values.ndim - 2) + [0, missing])
    return replace(part, values=values, padding=F.pad(~part.real, (0, missing), value=True))


def _stacked(parts: Sequence[Modality]) -> Modality:
    sizes = [len(part) for part in parts]
    merged: dict[str, Any] = {
        "padding": _masks([part.padding for part in parts], sizes, default=False),
        "present": _masks([part.present for part in parts], sizes, default=True),
    }
    for name in {attribute.name for attribute in fields(parts[0])} - merged.keys():
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], Tensor):
            merged[name] = torch.cat(values)
        elif isinstance(values[0], tuple):  # an entry for each record
            merged[name] = tuple(chain.from_iterable(values))
    return replace(parts[0], **merged)


def _masks(masks: Sequence[Tensor | None], sizes: Sequence[int], default: bool) -> Tensor | None:
    """Return one mask for all parts, with the default for parts without a mask; None if no part has one."""
    example = next((mask for mask in masks if mask is not None), None)
    if example is None:
        return None
    parts = [
        example.new_full((size, *example.shape[1:]), default) if mask is None else mask
        for mask, size in zip(masks, sizes, strict=True)
    ]
    return torch.cat(parts)
