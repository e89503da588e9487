"""What a report is made from: modalities as arrays, and checks that they belong to the same records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from commlearn.errors import ConfigurationError, DataError, Problems, unknown
from commlearn.evaluation.marginals import Array

__all__ = ["MOST_MODALITIES", "Material", "chosen_names", "from_arrays"]

MOST_MODALITIES = 5  # all subsets of them are looked at


@dataclass(frozen=True)
class Material:
    """Modalities of the same records.

    Attributes:
        arrays: (records, features) of each modality.
        fused: one model's own embedding of subsets of them, if there is a model.
        raw: the columns behind a model's embeddings, where they are few.
        where: what the arrays are, in words.
        notes: what a reader should know of them.
    """

    arrays: dict[str, Array]
    fused: dict[tuple[str, ...], Array] = field(default_factory=dict)
    raw: dict[str, Array] = field(default_factory=dict)
    where: str = "the arrays given"
    notes: tuple[str, ...] = field(default=())

    @property
    def records(self) -> int:
        return len(next(iter(self.arrays.values())))

    def choose(self, rows: np.ndarray) -> Material:
        """The same of some records."""
        return Material(
            {name: values[rows] for name, values in self.arrays.items()},
            {subset: values[rows] for subset, values in self.fused.items()},
            {name: values[rows] for name, values in self.raw.items()},
            self.where,
            self.notes,
        )


def from_arrays(arrays: Mapping[str, Any], modalities: Sequence[str] | None) -> Material:
    """Checked arrays, one a modality.

    Raises:
        DataError: different numbers of records, values that are no finite numbers, fewer than two modalities.
    """
    problems = Problems("The embeddings cannot be compared")
    chosen = {}
    for name in chosen_names(arrays, modalities):
        try:
            values = np.asarray(arrays[name], dtype=np.float64)
        except (TypeError, ValueError) as problem:
            problems.add(f"'{name}' is no array of numbers ({problem}); give (records, features).")
            continue
        values = values.reshape(len(values), -1) if values.ndim != 1 else values[:, None]
        wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(wrong):
            problems.add(
                f"'{name}' is not finite in {len(wrong)} of {len(values)} records, the first is record "
                f"{wrong[0]}; leave them out of every modality and of the target."
            )
        chosen[name] = values
    lengths = {name: len(values) for name, values in chosen.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        problems.add(f"modalities have different numbers of records: {told}; give the same records in each.")
    problems.raise_if_any(DataError)
    return Material(chosen)


def chosen_names(known: Collection[str], modalities: Sequence[str] | None) -> list[str]:
    names = list(known if modalities is None else modalities)
    for name in names:
        if name not in known:
            raise ConfigurationError(unknown("modality", name, known))
    if len(set(names)) < 2:
        raise ConfigurationError(
            f"A report needs at least two modalities to compare; got {', '.join(names) or 'none'}."
        )
    if len(names) > MOST_MODALITIES:
        raise ConfigurationError(
            f"{len(names)} modalities have {2 ** len(names) - 1} subsets to look at; choose at most "
            f"{MOST_MODALITIES} with modalities=, or join some of them."
        )
    return names
