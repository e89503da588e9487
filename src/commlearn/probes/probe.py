"""Probes of a model on its data: one entry point for every sort of target."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from commlearn.batch import as_names
from commlearn.errors import ConfigurationError, DataError, DataWarning, DivergedError, Problems, unknown
from commlearn.probes.linear import classes_of, label_names, read_classes, read_labels, read_numbers
from commlearn.probes.nearest import neighbour_classes, neighbour_numbers
from commlearn.probes.readout_rows import readout_rows
from commlearn.probes.results import LabelsResult, NumberResult, Outcome, ProbeResult
from commlearn.records import Dataset, Records
from commlearn.tables.table import Source
from commlearn.trained.embed import embed, rows_with_any

PROBES: dict[str, dict[str, Callable[..., Outcome]]] = {
    "linear": {"class": read_classes, "number": read_numbers, "multilabel": read_labels},
    "neighbours": {"class": neighbour_classes, "number": neighbour_numbers},
}
"""Probes by name, then by the sort of target that they predict."""


class Vectors(NamedTuple):
    """Embeddings of one part of the data, and its records."""

    rows: np.ndarray  # (records, dim)
    records: Records


def probe(
    model: Any,
    data: Dataset | Source | None = None,
    targets: Sequence[str] | str | None = None,
    modalities: Sequence[str] | None = None,
    seed: int = 0,
    kind: str = "linear",
) -> dict[str, ProbeResult | NumberResult | LabelsResult]:
    """Fit probes on frozen embeddings of clean training records and score them on test records.

    Args:
        model: a trained run, method or Embedder.
        data: a Dataset with rows to fit on and to score; or a table, which is split as in training; the
            training's own data if not given. Rows whose labels the model saw are not scored.
        targets: targets to probe; all if not given. Records without a target are left out and counted.
        modalities: modalities to embed; all if not given. Records without any of them are left out, and a
            warning counts them.
        seed: seed of the folds and of the bootstrap.
        kind: `linear` or `neighbours`.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:], "sign": rows[:, 0] > 0}
        >>> halves = {"left": cl.Vector("left"), "right": cl.Vector("right")}
        >>> schema = cl.Schema(halves, targets={"sign": "class"})
        >>> model = cl.Embedder(schema, epochs=1).fit({name: cells[:60] for name, cells in table.items()})
        >>> result = cl.probe(model, table)["sign"]
        >>> result.train_records, result.test_records, result.balanced_accuracy > result.chance
        (60, 30, True)
    """
    data, modalities = readout_rows(model, data), as_names(modalities)
    chosen = targets_to_score(data, targets, kind)  # checked before anything is embedded
    parts = [_with_any(records, modalities) for records in parts_to_read(data, chosen)]
    vectors = [Vectors(embed(model, records, modalities), records) for records in parts]
    outcomes = probe_vectors(data, *vectors, targets=list(chosen), seed=seed, kind=kind)
    return {name: outcome.result for name, outcome in outcomes.items()}


def targets_to_score(
    data: Dataset, targets: Sequence[str] | str | None, kind: str = "linear"
) -> dict[str, str]:
    """Return the named targets with their sorts, checked; if none are named, those that can be scored.

    A warning names the targets that cannot be scored; an error, if there are no others.
    """
    chosen = chosen_targets(data, targets, kind)
    scorable = {}
    for name, sort in chosen.items() if targets is None else ():
        try:
            check_targets(data, {name: sort})
            scorable[name] = sort
        except DataError as problem:
            if len(data.test) and len(chosen) > 1:
                warnings.warn(DataWarning(f"Not probed: {problem}"), stacklevel=3)
    if not scorable:
        check_targets(data, chosen)
    return scorable or chosen


def parts_to_read(data: Dataset, sorts: Mapping[str, str]) -> list[Records]:
    """Return the records to fit on, to score, and, if targets of these sorts need them, for thresholds."""
    validation = data.validation if "multilabel" in sorts.values() else None
    return [data.fit, data.test, *([] if validation is None else [validation])]


def _with_any(records: Records, modalities: Sequence[str] | None) -> Records:
    """Return the records that have any of the named modalities; warn about those that are left out."""
    names = None if modalities is None else [name for name in modalities if name in records.columns]
    rows = rows_with_any(records, names)
    if names is None or len(rows) in (0, len(records)):
        return records
    omitted = len(records) - len(rows)
    message = f"{omitted} of {len(records)} records have none of {', '.join(names)} and are left out."
    warnings.warn(DataWarning(message), stacklevel=3)
    return records.choose(rows)


def probe_vectors(
    data: Dataset,
    *parts: Vectors,
    targets: Sequence[str] | str | None = None,
    seed: int = 0,
    kind: str = "linear",
) -> dict[str, Outcome]:
    """Probe vectors from any source; return results with the predictions behind them.

    The parts are those to fit on, to score on, and optionally to choose thresholds on.
    """
    fit, test, *rest = parts
    validation = rest[0] if rest and len(rest[0].records) else None
    chosen = chosen_targets(data, targets, kind)
    count = sum(int((~np.isfinite(part.rows).all(axis=1)).sum()) for part in parts)
    if count:
        raise DivergedError(
            f"The embeddings of {count} of {sum(len(part.rows) for part in parts)} records are not finite: "
            "the training diverged, or the records hold extreme values. Lower training.learning_rate, or "
            "correct the records."
        )
    outcomes = {}
    with threadpool_limits(limits=1):  # small products: threads only wait for each other
        for name, sort in chosen.items():
            try:
                (rows, records), labels = _labelled(fit, name, "training")
                (test_rows, test_records), test_labels = _labelled(test, name, "test")
                groups = records.held_together, test_records.resampled
                options: dict[str, Any] = {"seed": seed, "groups": groups}
                if sort == "multilabel" and validation is not None:
                    (validation_rows, _), validation_labels = _labelled(validation, name, "validation")
                    options["validation"] = validation_rows, validation_labels
                outcome = PROBES[kind][sort](rows, labels, test_rows, test_labels, **options)
            except DataError as problem:
                raise DataError(f"target '{name}': {problem}") from problem
            dropped = len(fit.rows) + len(test.rows) - len(rows) - len(test_rows)
            outcomes[name] = replace(outcome, result=replace(outcome.result, dropped=dropped))
    return outcomes


def chosen_targets(
    data: Dataset, targets: Sequence[str] | str | None, kind: str = "linear"
) -> dict[str, str]:
    """Return the named targets with their sorts, checked; all that the probe can read if none are named."""
    if kind not in PROBES:
        raise ConfigurationError(unknown("probe", kind, PROBES))
    declared = (data.schema or {}).get("targets") or {}
    sorts = {name: declared.get(name) or sort_of(values) for name, values in data.fit.targets.items()}
    readable = [name for name, sort in sorts.items() if sort in PROBES[kind]]
    chosen = [targets] if isinstance(targets, str) else list(readable if targets is None else targets)
    for name in chosen:
        if name not in sorts:
            raise DataError(unknown("target", name, sorts))
        if name not in readable:
            raise DataError(
                f"target '{name}' is {sorts[name]}, which the probe '{kind}' does not support; choose "
                "another."
            )
    if not chosen:
        raise DataError("There is no target to probe. Name one under `targets:` in the schema.")
    return {name: sorts[name] for name in chosen}


def check_targets(data: Dataset, chosen: Mapping[str, str]) -> None:
    """Raise one error for all targets that cannot be fitted or scored, before anything is trained."""
    if not len(data.test):
        raise DataError("There are no test records to score a probe on; the split has none.")
    problems = Problems("targets")
    for name, sort in chosen.items():
        try:
            _labels(data.test, name, "test")
            _, labels = _labels(data.fit, name, "training")
            if sort == "class":
                classes_of(labels)
            elif sort == "multilabel":
                label_names(labels)
                if data.validation is not None and len(data.validation):
                    _labels(data.validation, name, "validation")
        except DataError as problem:
            problems.add(f"target '{name}': {problem}")
    problems.raise_if_any(DataError)


def sort_of(values: np.ndarray) -> str:
    """Infer the sort of a target that no schema states: class, number or multilabel.

    Example:
        >>> sort_of(np.array([0, 1, 1])), sort_of(np.array([0.5, 1.25])), sort_of(np.zeros((2, 3), int))
        ('class', 'number', 'multilabel')
    """
    if values.dtype == object:
        first = next((value for value in values if value is not None), None)
        return "multilabel" if isinstance(first, tuple) else "class"
    if values.dtype.kind != "f":
        return "multilabel" if values.ndim == 2 else "class"
    observed = values[~np.isnan(values)]
    return "number" if values.ndim == 2 or (observed != np.round(observed)).any() else "class"


def has_label(labels: np.ndarray) -> np.ndarray:
    """Return which records have a label, or all of several; None and NaN count as missing.

    Example:
        >>> has_label(np.array(["a", None], dtype=object)).tolist()
        [True, False]
    """
    missing = pd.isna(labels)
    return ~missing if labels.ndim == 1 else ~missing.any(axis=1)


def _labelled(part: Vectors, name: str, part_name: str) -> tuple[Vectors, np.ndarray]:
    """Return the records that have the target, with their vectors, and their labels."""
    labelled, labels = _labels(part.records, name, part_name)
    return Vectors(part.rows[labelled], part.records.choose(np.flatnonzero(labelled))), labels


def _labels(records: Records, name: str, part_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which records have the target, and their labels; raise an error if they cannot be used."""
    labels = records.targets[name]
    labelled = has_label(labels)
    if not labelled.any():
        raise DataError(f"no {part_name} record has it; fill it in, or split the data differently.")
    values = labels[labelled]
    if values.dtype == object and not isinstance(values[0], tuple):
        values = values.astype(str)
    if part_name == "training" and len(values) < 2:
        raise DataError(
            "only one training record has it, and a probe needs at least two; fill it in, or split the data "
            "differently."
        )
    if part_name == "test" and _all_equal(values):
        words = ", ".join(map(str, np.atleast_1d(values[0]))) or "without any label"
        raise DataError(
            f"all {len(values)} test records that have it are {words}: with nothing to tell apart, a "
            "score means nothing. Split the data differently, or score other rows."
        )
    return labelled, values


def _all_equal(values: np.ndarray) -> bool:
    if values.dtype == object:  # sets of labels
        return len({frozenset(map(str, labels)) for labels in values}) == 1
    return bool((values == values[0]).all())
