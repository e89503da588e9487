"""A cross-check for targets that are numbers: the parts if everything were linear and Gaussian.

For Gaussians the unique information of the weaker modality is zero (Barrett 2015), so the parts follow from
the three shares of variance that linear regressions explain:

    I_A = -1/2 log2(1 - R2_A)        shared = min(I_1, I_2)        synergy = I_12 - max(I_1, I_2)
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import RidgeCV

from commlearn.evaluation.interactions.evidence import Evidence
from commlearn.evaluation.marginals import Array

__all__ = ["gaussian_note", "gaussian_parts"]

_PENALTIES = np.logspace(-2, 4, 7)


def gaussian_parts(evidence: Evidence, numbers: Array) -> dict[str, float]:
    """Shared, unique and synergistic bits of two modalities about a number, regressions held out by fold.

    Args:
        evidence: records of two modalities, with folds.
        numbers: the target's values.
    """
    first, second = evidence.blocks.values()
    alone1, alone2 = (_bits(block, numbers, evidence) for block in (first, second))
    total = max(_bits(np.concatenate([first, second], axis=1), numbers, evidence), alone1, alone2)
    shared = min(alone1, alone2)
    return {
        "redundant": shared,
        "unique1": alone1 - shared,
        "unique2": alone2 - shared,
        "synergistic": total - max(alone1, alone2),
    }


def gaussian_note(evidence: Evidence, numbers: Array) -> str:
    """The parts in words."""
    parts = gaussian_parts(evidence, numbers)
    first, second = evidence.names
    return (
        f"cross-check without classes: if all were linear and Gaussian, {first} and {second} would share "
        f"{parts['redundant']:.2f} bits, add {parts['unique1']:.2f} and {parts['unique2']:.2f} alone, and "
        f"{parts['synergistic']:.2f} together"
    )


def _bits(block: Array, numbers: Array, evidence: Evidence) -> float:
    said = np.empty(len(numbers))
    for fold in range(evidence.folds.count):
        train = evidence.folds.of != fold
        said[~train] = RidgeCV(_PENALTIES).fit(block[train], numbers[train]).predict(block[~train])
    unexplained = ((said - numbers) ** 2).mean() / numbers.var()
    return float(max(0.0, -0.5 * np.log2(np.clip(unexplained, 1e-9, 1.0))))
