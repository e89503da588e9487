"""Where a probe of all modalities is wrong, and which records the embedding does not tell apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from commlearn.probes import Outcome, has_label
from commlearn.probes.ladder import Embedded
from commlearn.reports.records import Cards, clipped, number
from commlearn.reports.source import Source

HARDEST, PAIRS, MATRIX = 6, 6, 12  # most records, pairs, and classes for which every confusion is shown
SAME = 0.995  # lowest cosine of two records that are listed as near-duplicates


@dataclass(frozen=True)
class Mistakes:
    """Mistakes on one target."""

    wrong: int  # records that are wrong; 0 for a number, which is neither right nor wrong
    records: int
    hardest: tuple[tuple[int, str, str, str], ...]  # place among those shown; truth, answer, how hard
    classes: tuple[str, ...] = ()  # classes of the matrix
    matrix: tuple[tuple[int, ...], ...] = ()  # rows are the truth
    confusions: tuple[tuple[str, str, int], ...] = ()  # truth, answer, records

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        hardest = [
            {"record": names[position], "truth": truth, "answer": answer}
            for position, truth, answer, _ in self.hardest
        ]
        return {**asdict(self), "hardest": hardest}


def mistakes(
    source: Source,
    target: str,
    outcome: Outcome,
    fit_rows: np.ndarray,
    whole: Embedded,
    shown: Cards,
    nearest: Mapping[int, Sequence[int]],
) -> Mistakes | None:
    """Return what the probe of all modalities got wrong; None for targets of several labels or numbers.

    For classes, the hardest records are those whose neighbours are of other classes too; for numbers,
    those furthest from their prediction.
    """
    labels = source.data.test.targets[target]
    rows = whole.rows[has_label(labels[whole.rows])]  # the records that were scored, in their order
    outputs = outcome.predicted.size // max(len(outcome.predicted), 1)
    if source.sorts[target] == "multilabel" or outputs > 1:
        return None
    position_of = {row: position for position, row in enumerate(shown.rows.tolist())}
    truth, answers = outcome.truth.ravel(), outcome.predicted.ravel()
    if source.sorts[target] == "number":
        errors = np.abs(truth - answers)
        order = [
            index for index in np.argsort(-errors, kind="stable").tolist() if int(rows[index]) in position_of
        ][:HARDEST]
        hardest = tuple(
            (
                position_of[int(rows[index])],
                number(float(truth[index])),
                number(float(answers[index])),
                f"{number(float(errors[index]))} off",
            )
            for index in order
        )
        return Mistakes(0, len(rows), hardest)
    values = labels[rows].astype(str) if labels.dtype == object else labels[rows]
    fit_labels = source.data.fit.targets[target][fit_rows]
    fit_labels = fit_labels[has_label(fit_labels)]
    classes = np.unique(
        np.concatenate([fit_labels.astype(str) if fit_labels.dtype == object else fit_labels, values])
    )
    names = [number(name) for name in classes.tolist()]
    code = {int(row): int(entry) for row, entry in zip(rows, truth, strict=True)}
    wrong = np.flatnonzero(truth != answers).tolist()
    hard = []
    for index in wrong:
        position = position_of.get(int(rows[index]))
        if position is None:
            continue
        others = [code.get(int(shown.rows[other])) for other in nearest.get(position, ())]
        alike_neighbours = sum(other == truth[index] for other in others)
        hard.append((alike_neighbours, position, index, len(others)))
    hardest = tuple(
        (
            position,
            names[truth[index]],
            names[answers[index]],
            f"{same} of its {others} nearest records share its class",
        )
        for same, position, index, others in sorted(hard)[:HARDEST]
    )
    counts = Counter((names[truth[index]], names[answers[index]]) for index in wrong)
    confusions = tuple(
        (*pair, count) for pair, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:8]
    )
    matrix = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(matrix, (truth, answers), 1)
    small = 1 < len(names) <= MATRIX
    return Mistakes(
        len(wrong),
        len(rows),
        hardest,
        tuple(clipped(name, 24) for name in names) if small else (),
        tuple(map(tuple, matrix.tolist())) if small else (),
        confusions,
    )


@dataclass(frozen=True)
class Alike:
    """Pairs of shown records that are embedded at almost the same place."""

    pairs: tuple[
        tuple[int, int, float, bool], ...
    ]  # the closest: places, cosine, whether all cells are equal
    count: int  # number of all such pairs
    share: float  # their share of all pairs of records
    closest: float  # cosine of the closest pair


def alike(source: Source, whole: Embedded, shown: Cards) -> Alike | None:
    """Return the closest pairs of records in the embedding of all modalities; None if fewer than two."""
    positions, vectors = whole.among(shown.rows)
    if len(positions) < 2:
        return None
    vectors = vectors.astype(np.float32)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    first, second = np.triu_indices(len(positions), 1)
    cosines = (unit @ unit.T)[first, second]
    order = np.argsort(-cosines, kind="stable")[:PAIRS]
    count = int((cosines >= SAME).sum())
    pairs = tuple(
        (
            int(positions[first[index]]),
            int(positions[second[index]]),
            float(cosines[index]),
            _equal(source, shown, int(positions[first[index]]), int(positions[second[index]])),
        )
        for index in order.tolist()
        if cosines[index] >= SAME
    )
    return Alike(pairs, count, count / len(cosines), float(cosines.max()))


def _equal(source: Source, shown: Cards, first: int, second: int) -> bool:
    """Return whether all cells that the modalities read are the same."""
    if source.cells is None:
        return False
    columns = [
        column for name in source.trained.specs for column in source.columns(name) if column in source.cells
    ]
    first_cells, second_cells = (
        source.cells[columns].iloc[int(shown.rows[position])].astype(str) for position in (first, second)
    )
    return bool((first_cells == second_cells).all())
