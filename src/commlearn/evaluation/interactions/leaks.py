"""Signs that the answer is given away: records that belong together, or a modality that reads the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from commlearn.evaluation.interactions.evidence import Evidence
from commlearn.evaluation.interactions.folds import Folds, make_folds
from commlearn.evaluation.interactions.linear import fit_linear
from commlearn.evaluation.interactions.settings import Settings
from commlearn.evaluation.interactions.stacking import log_softmax
from commlearn.evaluation.interactions.workers import unsaid_convergence
from commlearn.evaluation.marginals import Array
from commlearn.seeds import numpy_generator

__all__ = ["answers_read", "leak_warnings"]

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
