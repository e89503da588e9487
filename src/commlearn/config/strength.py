"""How strongly to augment the records of a table, decided on the records themselves.

An augmentation should change a record as much as possible but leave it recognisable. So each modality
gets the strongest of a few strengths at which at least half of the augmented records still look more
like their own original than like any other, by the features that the augmentation left. This needs no
labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from commlearn.augmentations import AUGMENTATIONS, Augmentation
from commlearn.augmentations.tabular import MISSING
from commlearn.batch import Modality
from commlearn.kinds.rows import evenly_spaced
from commlearn.models.build import part_of
from commlearn.records import Column, Records
from commlearn.tables.signal import CODES, quick_features

SAMPLE = 256  # records that are compared
ENOUGH = 0.5  # share of them that must be recognised

OF_FEATURES = {"name": "vector", "std": 0.0, "drop": 0.0, "swap": 0.3}

# strongest first; the last is used if no other leaves enough records recognisable
LADDERS: dict[str, tuple[dict[str, Any], ...]] = {
    "image": (
        {"name": "simclr"},
        {"name": "simclr", "scale": [0.25, 1.0], "greyscale": 0.1},
        {"name": "simclr", "scale": [0.4, 1.0], "hue": 0.05, "greyscale": 0.0, "blur": 0.3},
        {
            "name": "simclr",
            "scale": [0.6, 1.0],
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.2,
            "hue": 0.02,
            "greyscale": 0.0,
            "blur": 0.2,
        },
    ),
    "tabular": (
        {"name": "tabular", "std": 0.3, "mask": 0.4},
        {"name": "tabular"},
        {"name": "tabular", "std": 0.05, "mask": 0.1},
    ),
    "vector": (
        {"name": "vector", "std": 0.3, "drop": 0.2},
        {"name": "vector"},
        {"name": "vector", "std": 0.05, "drop": 0.1},
    ),
}


def chosen_augmentations(
    records: Records, stated: Mapping[str, Any], on_features: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Choose augmentations that are not stated, for encoders on fixed features and kinds with a ladder."""
    result = {}
    for name, column in records.columns.items():
        kind = column.spec.kind
        if part_of(stated, name, records.specs):
            continue
        if name in on_features:
            result[name] = dict(OF_FEATURES)
        elif kind in LADDERS:
            result[name] = dict(LADDERS[kind][_strongest(column)])
    return result


def recognised(column: Column, augmentation: Augmentation) -> float:
    """Return the share of a sample of records that, once augmented, still look most like themselves.

    Example:
        >>> from commlearn.augmentations import VectorAugmentation
        >>> from commlearn.records import VectorColumn
        >>> column = VectorColumn(np.random.default_rng(0).normal(size=(50, 20)).astype("float32"))
        >>> recognised(column, VectorAugmentation(std=0.01, drop=0.0))
        1.0
    """
    clean = column.take(np.array(evenly_spaced(len(column), SAMPLE)))
    changed = augmentation(clean, torch.Generator().manual_seed(0), column.spec)
    present = slice(None) if clean.present is None else clean.present
    remaining = _remaining_features(changed, column)[present].double()  # (present, features)
    augmented, originals = _features(changed, column)[present] * remaining, _features(clean, column)[present]
    if not len(augmented):
        return 1.0
    square = (
        augmented.square().sum(dim=1, keepdim=True)
        - 2 * augmented @ originals.T
        + remaining @ originals.square().T
    )
    return float((square.diagonal() <= square.amin(dim=1) + 1e-6).double().mean())  # ties count as recognised


def _strongest(column: Column) -> int:
    """Return the position on the ladder of the strongest augmentation that leaves records recognisable."""
    ladder = LADDERS[column.spec.kind]
    for index, part in enumerate(ladder[:-1]):
        options = {key: value for key, value in part.items() if key != "name"}
        if recognised(column, AUGMENTATIONS[part["name"]](**options)) >= ENOUGH:
            return index
    return len(ladder) - 1


def _remaining_features(changed: Modality, column: Column) -> torch.Tensor:
    """Return which features the augmentation left, (batch, features); dropped ones are not compared."""
    features = _features(changed, column)
    if column.spec.kind == "vector":
        return features != 0
    if column.spec.kind == "tabular":
        count = column.spec.shape[0]
        numbers, codes = changed.values[:, :count], changed.values[:, count:]
        return torch.cat([~numbers.isnan(), (codes != MISSING).repeat_interleave(CODES, dim=1)], dim=1)
    return torch.ones_like(features, dtype=torch.bool)


def _features(modality: Modality, column: Column) -> torch.Tensor:
    if modality.values.dtype == torch.uint8:  # augmented images are floats in 0..1
        modality = modality.with_values(modality.values.float() / 255)
    return quick_features(modality, column.spec).double()
