"""What modalities know of each target together: as much of it as a page can be waited for.

All subsets of up to three modalities are looked at. Of more, each alone, each pair, and all together: the
number of the other subsets doubles with every modality, and so does the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from commlearn.errors import DataError
from commlearn.information.ask import ask
from commlearn.information.material import Material, label_columns
from commlearn.information.pairs import pair_values
from commlearn.information.settings import Settings
from commlearn.information.sources import gather, own_columns, own_records
from commlearn.kinds.arrays import presence
from commlearn.kinds.rows import is_empty
from commlearn.probes import has_label
from commlearn.probes.readout_rows import rows_to_cross_fit, unseen_positions
from commlearn.records import Records
from commlearn.reports.source import Source
from commlearn.seeds import numpy_generator
from commlearn.tables.table import Table
from commlearn.trained.embed import embed

RECORDS = 2000  # that are looked at, drawn by seed where there are more
TARGETS = 3  # that are decomposed where none is named, and labels of a target of several labels
WHOLE = 3  # modalities of which every subset is looked at

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Looked:
    """The records that are looked at, and which of them belong together."""

    records: Records
    groups: np.ndarray | None
    notes: tuple[str, ...]


def information(read: Source, named: bool, seed: int, tell: Tell) -> dict[str, dict[str, Any]]:
    """By target, or by target and label: plain values of its decomposition, or why there is none.

    Args:
        read: model and records.
        named: the targets were named by the user, so that all of them are wanted.
        seed: of folds, bootstrap and the choice of records.
        tell: receives a line for each step.
    """
    tell("reading records for the decomposition")
    wanted = read.targets if named else read.targets[:TARGETS]
    looked = looked_at(read, wanted, seed)
    questions = [question for target in wanted for question in _questions(looked.records, target)]
    settings = Settings(curve=False, bootstrap=5, permutations=39, seed=seed)
    answer = _answers(read, looked, settings)
    results = {}
    for number, (target, name, values) in enumerate(questions, 1):
        head = f"decomposing {name} ({number} of {len(questions)})"
        try:
            result = answer(name, values, lambda what, head=head: tell(f"{head}: {what}"))
            result["notes"] = [*looked.notes, *result["notes"]]
        except DataError as problem:
            result = {"problem": str(problem)}
        results[name] = {**result, "of": target}
    return results


def looked_at(read: Source, targets: Sequence[str], seed: int) -> Looked:
    """Records of the table, or of the run's own data set, that have all modalities and may be scored.

    Of more than can be looked at, those that have any of the targets.
    """
    names = list(read.trained.specs)
    if read.table is None:
        rows = own_records(read.trained)
        of = len(rows.records)
    else:
        unseen = unseen_positions(read.trained, read.table)
        if len(unseen) > 3 * RECORDS:
            cells = read.table.frame[list(targets)].iloc[unseen]
            unseen = _labelled(unseen, cells.map(lambda cell: not is_empty(cell)).any(axis=1).to_numpy())
        drawn = numpy_generator(seed, "report rows").permutation(unseen)[: 3 * RECORDS]  # some have gaps
        frame = read.table.frame.iloc[np.sort(drawn)].reset_index(drop=True)
        rows = rows_to_cross_fit(read.trained, Table(frame, read.table.root), with_targets=True)
        of = len(read.table)
    chosen = rows.records.choose(_some(rows.records, names, targets, seed))
    notes = [rows.warning] if rows.warning else []
    if len(chosen) < of:
        notes.append(
            f"{len(chosen):,} of {of:,} records were looked at; each of them has all modalities"
            + (", and none was trained on with labels" if read.trained.saw_labels else "")
        )
    return Looked(chosen, chosen.groups, tuple(notes))


def _some(records: Records, names: Sequence[str], targets: Sequence[str], seed: int) -> np.ndarray:
    there = np.flatnonzero(np.all([presence(records.columns[name]) for name in names], axis=0))
    if not len(there):
        raise DataError(f"No record has all of {', '.join(names)}, so they cannot be compared.")
    if len(there) > RECORDS:
        labels = [has_label(records.targets[name])[there] for name in targets]
        there = _labelled(there, np.any(labels, axis=0))
    return np.sort(numpy_generator(seed, "report information").permutation(there)[:RECORDS])


def _labelled(rows: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Those of the rows that are labelled, if any are."""
    return rows[labelled] if labelled.any() else rows


def _questions(records: Records, target: str) -> list[tuple[str, str, np.ndarray]]:
    """The target, or its most frequent labels, with values of each."""
    values = np.asarray(records.targets[target])
    labels = label_columns(values)
    if labels is None:
        return [(target, target, values)]
    often = sorted(labels, key=lambda label: -np.nansum(labels[label]))[:TARGETS]
    return [(target, f"{target}: {label}", labels[label]) for label in often]


def _answers(read: Source, looked: Looked, settings: Settings) -> Callable[..., dict[str, Any]]:
    """What answers one question; the records are embedded once for all of them."""
    names = list(read.trained.specs)
    if len(names) <= WHOLE:
        sources = gather(read.trained, looked.records, None, looked.groups)
        return lambda name, values, tell: ask(
            sources, pd.Series(values, name=name), settings=settings, tell=tell
        ).to_dict()
    vectors = {name: embed(read.trained, looked.records, [name], blocks="learned") for name in names}
    arrays = {name: np.asarray(rows, dtype=np.float64) for name, rows in vectors.items()}
    material = Material(arrays, columns=own_columns(looked.records))
    sorts = read.trained.schema.targets if read.trained.schema else {}
    return lambda name, values, tell: pair_values(
        material, values, name, looked.groups, settings, tell, sorts.get(name)
    )
