"""What modalities know about each target together, limited to what can be computed while a user waits.

With up to three modalities, all subsets are examined. With more, only each alone, each pair, and all
together: the number of the other subsets doubles with every modality, and so does the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from commlearn.errors import DataError
from commlearn.information.ask import ask
from commlearn.information.material import Material, Settings, label_columns
from commlearn.information.pairs import pair_values
from commlearn.information.sources import gather, own_columns, own_records
from commlearn.kinds.rows import is_empty
from commlearn.probes.probe import has_label
from commlearn.probes.readout_rows import rows_to_cross_fit, unseen_positions
from commlearn.records import Records, presence
from commlearn.reports.source import Source
from commlearn.seeds import numpy_generator
from commlearn.tables.table import Table
from commlearn.trained.embed import embed

RECORDS = 2000  # most records that are used, drawn by seed if there are more
TARGETS = 3  # targets that are decomposed if none is named, and labels of a target of several labels
WHOLE = 3  # most modalities for which every subset is examined

Tell = Callable[[str], None]


def information(read: Source, named: bool, seed: int, tell: Tell) -> dict[str, dict[str, Any]]:
    """Return plain values of each target's (or label's) decomposition, or why there is none.

    Args:
        read: model and records.
        named: whether the user named the targets, so that all of them are wanted.
        seed: seed of folds, bootstrap and the choice of records.
        tell: receives a line for each step.
    """
    tell("reading records for the decomposition")
    targets = read.targets if named else read.targets[:TARGETS]
    records, notes = select_records(read, targets, seed)
    questions = [question for target in targets for question in _questions(records, target)]
    settings = Settings(curve=False, bootstrap=5, permutations=39, seed=seed)
    answer = _answers(read, records, settings)
    results = {}
    for number, (target, name, values) in enumerate(questions, 1):
        prefix = f"decomposing {name} ({number} of {len(questions)})"
        try:
            result = answer(name, values, lambda step, prefix=prefix: tell(f"{prefix}: {step}"))
            result["notes"] = [*notes, *result["notes"]]
        except DataError as problem:
            result = {"problem": str(problem)}
        results[name] = {**result, "of": target}
    return results


def select_records(read: Source, targets: Sequence[str], seed: int) -> tuple[Records, list[str]]:
    """Return records of the table, or the run's data set, with all modalities, that may be scored; and notes.

    If there are more than can be used, those that have any of the targets are chosen.
    """
    names = list(read.trained.specs)
    if read.table is None:
        rows = own_records(read.trained)
        total = len(rows.records)
    else:
        unseen = unseen_positions(read.trained, read.table)
        if len(unseen) > 3 * RECORDS:
            filled = read.table.frame[list(targets)].iloc[unseen].map(lambda cell: not is_empty(cell))
            unseen = _prefer_labelled(unseen, filled.any(axis=1).to_numpy())
        drawn = numpy_generator(seed, "report rows").permutation(unseen)[: 3 * RECORDS]  # some have gaps
        frame = read.table.frame.iloc[np.sort(drawn)].reset_index(drop=True)
        rows = rows_to_cross_fit(read.trained, Table(frame, read.table.root), with_targets=True)
        total = len(read.table)
    chosen = rows.records.choose(_choose_rows(rows.records, names, targets, seed))
    notes = [rows.warning] if rows.warning else []
    if len(chosen) < total:
        notes.append(
            f"{len(chosen):,} of {total:,} records were used; each of them has all modalities"
            + (", and training saw none of their labels" if read.trained.saw_labels else "")
        )
    return chosen, notes


def _choose_rows(records: Records, names: Sequence[str], targets: Sequence[str], seed: int) -> np.ndarray:
    complete = np.flatnonzero(np.all([presence(records.columns[name]) for name in names], axis=0))
    if not len(complete):
        raise DataError(f"No record has all of {', '.join(names)}, so they cannot be compared.")
    if len(complete) > RECORDS:
        labels = [has_label(records.targets[name])[complete] for name in targets]
        complete = _prefer_labelled(complete, np.any(labels, axis=0))
    return np.sort(numpy_generator(seed, "report information").permutation(complete)[:RECORDS])


def _prefer_labelled(rows: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Return the rows that are labelled, or all of them if none are."""
    return rows[labelled] if labelled.any() else rows


def _questions(records: Records, target: str) -> list[tuple[str, str, np.ndarray]]:
    """Return the target, or its most frequent labels, with values of each."""
    values = np.asarray(records.targets[target])
    labels = label_columns(values)
    if labels is None:
        return [(target, target, values)]
    ranked = sorted(labels, key=lambda label: -np.nansum(labels[label]))[:TARGETS]
    return [(target, f"{target}: {label}", labels[label]) for label in ranked]


def _answers(source: Source, records: Records, settings: Settings) -> Callable[..., dict[str, Any]]:
    """Return a function that answers one question; the records are embedded once for all of them."""
    names = list(source.trained.specs)
    if len(names) <= WHOLE:
        sources = gather(source.trained, records, None, records.groups)
        return lambda name, values, tell: ask(
            sources, pd.Series(values, name=name), settings=settings, tell=tell
        ).to_dict()
    vectors = {name: embed(source.trained, records, [name], blocks="learned") for name in names}
    arrays = {name: np.asarray(rows, dtype=np.float64) for name, rows in vectors.items()}
    material = Material(arrays, columns=own_columns(records))
    sorts = source.trained.schema.targets if source.trained.schema else {}
    return lambda name, values, tell: pair_values(
        material, values, name, records.groups, settings, tell, sorts.get(name)
    )
