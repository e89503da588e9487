"""Factors of synthetic records: what each modality shows, and what can be predicted from which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from commlearn.errors import ConfigurationError, unknown
from commlearn.seeds import numpy_generator

__all__ = ["draw_factors", "labels_of", "show"]


def draw_factors(rows: int, modalities: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Independent bits of each record, (rows,) of 0 and 1.

    `shared` shows in every modality and `unique_NAME` in that one; `synergy` is whether the bits that
    the first two modalities show beside differ, so that neither tells anything of it alone; `chance`
    shows nowhere.

    Example:
        >>> sorted(draw_factors(4, ["image", "text"], 0))
        ['bit_image', 'bit_text', 'chance', 'shared', 'synergy', 'unique_image', 'unique_text']
    """
    draw = numpy_generator(seed, "synthetic factors")
    names = ["shared", "chance", *(f"unique_{name}" for name in modalities)]
    names += [f"bit_{name}" for name in modalities[:2]]
    factors = {name: draw.integers(2, size=rows) for name in names}
    first, second = (factors[f"bit_{name}"] for name in modalities[:2])
    return {**factors, "synergy": first ^ second}


def labels_of(factors: dict[str, np.ndarray], label: str) -> np.ndarray:
    """The factor that is a data set's label."""
    predictable = [name for name in factors if not name.startswith("bit_")]
    if label not in predictable:
        raise ConfigurationError(unknown("label", label, predictable))
    return factors[label]


def show(
    factors: dict[str, np.ndarray], modality: str, features: int, draw: np.random.Generator
) -> np.ndarray:
    """What a modality shows of its factors: (rows, features), a direction of its own for each, no noise."""
    shown = ["shared", f"unique_{modality}"]
    shown += [name for name in (f"bit_{modality}",) if name in factors]
    directions = np.linalg.qr(draw.normal(size=(max(features, len(shown)), len(shown))))[0][:features]
    signs = np.stack([2.0 * factors[name] - 1 for name in shown], axis=1)  # (rows, factors)
    return signs @ directions.T * np.sqrt(features)
