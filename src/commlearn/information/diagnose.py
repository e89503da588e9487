"""Whether the numbers of a report can be believed: leaks, cross-checks and diagnoses.

For Gaussians the unique information of the weaker modality is zero (Barrett 2015), so the parts follow from
the three shares of variance that linear regressions explain:

    I_A = -1/2 log2(1 - R2_A)        shared = min(I_1, I_2)        synergy = I_12 - max(I_1, I_2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import RidgeCV

from commlearn.information.estimate import subset_name
from commlearn.information.evidence import Evidence, Logs
from commlearn.information.experts.folds import Folds, make_folds
from commlearn.information.experts.linear import fit_linear
from commlearn.information.experts.stacking import log_softmax
from commlearn.information.experts.workers import unsaid_convergence
from commlearn.information.pid.marginals import Array
from commlearn.information.quantise import cell_count
from commlearn.information.settings import Settings
from commlearn.information.views import View
from commlearn.seeds import numpy_generator

__all__ = [
    "Diagnostics",
    "answers_read",
    "calibration_error",
    "diagnose",
    "gaussian_note",
    "gaussian_parts",
    "leak_warnings",
]


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


_COPIES = 0.01  # share of records that are copies from which it is told
_LEAST_COLUMNS = 3  # values of fewer columns repeat without being copies
_LEAST_DISTINCT = 50  # records of fewer kinds are no copies but alike
_BITS = 0.02  # of leak from which it is told


def answers_read(target: str, columns: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """A warning for each modality that reads the target's own column.

    Example:
        >>> answers_read("ill", {"labs": ["hb", "ill"], "notes": ["note"]})[0][:53]
        "target 'ill' is itself a column that the modality 'la"
    """
    return tuple(
        f"target '{target}' is itself a column that the modality '{name}' reads: it holds the answer; leave "
        "the column out of the modality, or ask about another target"
        for name, read in columns.items()
        if target in read
    )


def leak_warnings(arrays: Mapping[str, Array], evidence: Evidence, settings: Settings) -> list[str]:
    """Copies of records without groups; with groups, what ignoring them would have claimed.

    Args:
        arrays: of each modality, before anything is done to them.
        evidence: the same records, with groups and folds.
        settings: of the report.
    """
    if evidence.groups is None:
        return _copies(arrays) or _whole_copies(arrays, settings.seed)
    blocks = tuple(evidence.blocks.values())
    apart = _information(blocks, evidence, evidence.folds)
    random = _information(blocks, evidence, make_folds(evidence.labels, None, settings.folds, settings.seed))
    if random - apart < _BITS:
        return []
    return [
        f"groups matter: a linear probe claims {random - apart:.2f} bits more if groups may be on both sides "
        "of a fold; if they are finer than what records really share, this report still claims too much"
    ]


def _information(blocks: tuple[Array, ...], evidence: Evidence, folds: Folds) -> float:
    labels = evidence.labels
    with unsaid_convergence():
        probe = fit_linear(blocks, labels, folds, 0.1)
    rows = np.arange(len(labels))
    log = log_softmax(probe.logits([rows] * len(blocks)))
    share = np.bincount(labels) / len(labels)
    return float((log[rows, labels].mean() - share @ np.log(share)) / np.log(2))


def _copies(arrays: Mapping[str, Array]) -> list[str]:
    found = []
    for name, values in arrays.items():
        if values.shape[1] < _LEAST_COLUMNS:
            continue
        distinct = len(np.unique(values.round(9), axis=0))
        repeated = len(values) - distinct
        if repeated > _COPIES * len(values) and distinct > _LEAST_DISTINCT:
            found.append(
                f"'{name}' has {distinct} distinct values in {len(values)} records: copies on both sides of "
                "a fold can be recognised instead of understood, and the numbers claim too much; pass "
                f"groups= that hold copies of '{name}' together"
            )
    return found


def _whole_copies(arrays: Mapping[str, Array], seed: int) -> list[str]:
    """Records that are the same in all modalities, beyond what modalities put together at random give."""
    rounded = [values.round(9) for values in arrays.values()]
    records = len(rounded[0])
    draw = numpy_generator(seed, "interactions copies")
    by_chance = _repeated([values[draw.permutation(records)] for values in rounded])
    repeated = _repeated(rounded)
    distinct = records - repeated
    columns = sum(values.shape[1] for values in rounded)
    if columns < _LEAST_COLUMNS or distinct <= _LEAST_DISTINCT:
        return []
    if repeated <= _COPIES * records + 2 * by_chance:
        return []
    return [
        f"{repeated} of {records} records are the same in all modalities as another one: copies on both "
        "sides of a fold can be recognised instead of understood, and the numbers claim too much; pass "
        "groups= that hold copies together, or leave them out"
    ]


def _repeated(parts: list[Array]) -> int:
    rows = np.concatenate(parts, axis=1)
    return len(rows) - len(np.unique(rows, axis=0))


TRUSTED_RECORDS, TRUSTED_PER_CELL, TRUSTED_GROUPS = 500, 10.0, 20
_MISCALIBRATED = 0.05  # share by which confidence may miss the hits


@dataclass(frozen=True)
class Diagnostics:
    """Signs of trust and of doubt.

    Attributes:
        gap: the largest certificate of the programs, in bits.
        calibration: by how much the confidence of each subset's posterior misses its hits, a share.
        cells: of each single modality's posterior.
        per_cell: records a class and cell, on average.
        trusted: enough records for what is claimed.
        seconds: what the report took.
    """

    gap: float
    calibration: dict[str, float]
    cells: dict[str, int]
    per_cell: float
    trusted: bool
    seconds: float


def diagnose(logs: Logs, view: View, evidence: Evidence, seconds: float) -> tuple[Diagnostics, list[str]]:
    """The diagnostics, and a sentence with a number for each doubt.

    Args:
        logs: held-out posteriors of all subsets.
        view: their decomposition.
        evidence: the records.
        seconds: taken so far.
    """
    labels = evidence.labels
    classes = len(np.unique(labels))
    names = view.measured.names
    cells = dict(zip(names, view.measured.unions[0].cells, strict=True))
    per_cell = len(labels) / (classes * cell_count(len(labels), classes))
    expected = f"expect each part to be off by up to {_expected(view):.2f} bits"
    doubts = []
    if len(labels) < TRUSTED_RECORDS:
        doubts.append(f"{len(labels)} records are fewer than {TRUSTED_RECORDS}; {expected}")
    if per_cell < TRUSTED_PER_CELL:
        told = f"{per_cell:.1f} records a class and cell are fewer than {TRUSTED_PER_CELL:.0f}"
        doubts.append(f"{told}; {expected}")
    if evidence.groups is not None and (count := len(np.unique(evidence.groups))) < TRUSTED_GROUPS:
        doubts.append(f"{count} groups are fewer than {TRUSTED_GROUPS}; {expected}")
    trusted = not doubts
    errors = {subset_name(subset): calibration_error(log, labels) for subset, log in logs.items()}
    chance = 1 / np.sqrt(len(labels))  # what sampling alone leaves
    doubts += [
        f"the posterior of {name} is miscalibrated: its confidence misses its hits by "
        f"{100 * error:.0f} points"
        for name, error in errors.items()
        if error > _MISCALIBRATED + chance
    ]
    return Diagnostics(view.measured.gap, errors, cells, per_cell, trusted, seconds), doubts


def _expected(view: View) -> float:
    """Half the widest interval among the parts, and no less than what 1 000 records leave, scaled."""
    parts = [*view.spectrum, *view.unique.values(), *(pair.redundant for pair in view.pairs)]
    records = len(view.measured.total.shares)
    return max(0.05 * float(np.sqrt(1000 / records)), *((part.high - part.low) / 2 for part in parts))


def calibration_error(log: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Mean distance between confidence and hits, over bins of equal mass.

    Example:
        >>> calibration_error(np.log([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 0])).__round__(2)
        0.1
    """
    confidence, hit = np.exp(log.max(axis=1)), log.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    gaps = [abs(confidence[part].mean() - hit[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(labels))
