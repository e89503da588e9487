"""Checks of a table before training, collected in one report that locates every problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from commlearn.errors import DataError
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.numbers import MISSING_NUMBERS
from commlearn.kinds.rows import WAY_OUT, Unreadable, first_ten, label, raise_errors
from commlearn.records import Column, presence
from commlearn.tables.leaks import copies, group_leaks, likely_answers, training_overlap
from commlearn.tables.roles import id_problems, odd_names, read_target, split_problems, with_ids
from commlearn.tables.schema import Schema, empty_record_problems
from commlearn.tables.signal import Survey, shuffled, survey
from commlearn.tables.table import Table

FEWEST, FEW = 8, 50  # fewest training rows that cause no error, and no warning
GLANCE = 32  # pixels per side of the images that are compared
FLOPS = 5e10  # per second, on one CPU core


@dataclass(frozen=True)
class Report:
    """Problems and facts found in a table; facts are plain values."""

    problems: tuple[Problem, ...]
    facts: dict[str, Any]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.level == "warning")

    def to_json(self) -> dict[str, Any]:
        entries = [asdict(problem) for problem in (*self.errors, *self.warnings)]
        return {"errors": len(self.errors), "warnings": len(self.warnings), "problems": entries, **self.facts}


def check(table: Table, schema: Schema) -> Report:
    """Find and collect everything in a table that would stop or spoil a training.

    Args:
        table: the rows and their root folder.
        schema: what the columns are.
    """
    missing = schema.misnamed_columns(table.frame)
    problems = [Problem(message, column) for column, message in missing.items()]
    facts: dict[str, Any] = {"rows": len(table), "modalities": {}, "targets": {}}
    if schema.id is not None and schema.id not in missing:
        problems += first_ten(id_problems(table, schema.id))
    for column in schema.columns():
        problems += [] if column in missing else _missing_words(table.frame[column])
    splits, new_problems = _splits(table, schema, missing)
    problems += new_problems
    facts["splits"] = {name: len(rows) for name, rows in splits.items()}
    if schema.group is not None and schema.group not in missing:
        problems += group_leaks(table, schema.group, splits)
        if not odd_names(table, schema.group):
            facts["groups"] = int(table.frame[schema.group].nunique())
    for name, sort in schema.targets.items():
        if name not in missing:
            facts["targets"][name], new_problems = _target(table, name, sort)
            problems += new_problems
    for column, reason in likely_answers(table.frame, schema).items():
        way_out = "leave it out of the modality, or the embedding will contain it"
        message = f"{reason}; if it gives the answer away, {way_out}"
        problems.append(Problem(message, column, level="warning"))
    kinds = {
        name: kind for name, kind in schema.modalities.items() if not missing.keys() & set(kind.columns())
    }
    unreadable = Unreadable(schema.unreadable_limit)
    train = splits.get("train", np.arange(len(table)))
    columns, states, new_problems = _read(table, schema, kinds, train, unreadable)
    problems += new_problems
    if unreadable.entries:
        facts["unreadable"] = unreadable.entries
    if columns:
        surveys = {name: survey(column) for name, column in columns.items()}
        prints = {name: survey.prints for name, survey in surveys.items()}
        if len(columns) == len(schema.modalities):
            problems += first_ten(empty_record_problems(table, columns))
            problems += copies(prints, splits, table, schema)
        problems += shuffled(columns)
        facts["modalities"] = _modalities(kinds, columns, surveys, training_overlap(prints, splits))
        facts["expected"] = _expected(columns, states, surveys, len(splits.get("train", ())))
    return Report(with_ids(problems, table, schema.id), facts)


def _missing_words(values: pd.Series) -> list[Problem]:
    """Warn of text with words such as NA, of which only the user can say whether they mean empty."""
    words = values[values.isin(MISSING_NUMBERS)] if isinstance(values.dtype, pd.StringDtype) else values[:0]
    if not len(words):
        return []
    distinct = ", ".join(words.unique())
    way_out = f"If they mean empty cells, add to the schema: missing: [{distinct}]"
    message = f"{len(words)} cells are {distinct}, which are read as ordinary words. {way_out}"
    return [Problem(message, str(values.name), level="warning")]


def _splits(
    cells: Cells, schema: Schema, missing: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], list[Problem]]:
    """Return the rows of each split, and problems; if the split is unknown, all rows are for training."""
    splits = {"train": np.arange(len(cells))}
    problems: list[Problem] = []
    if schema.split is not None and schema.split not in missing:
        problems = first_ten(split_problems(cells, schema.split))
        if not problems:
            splits = schema.splits(cells)
    train = len(splits.get("train", ()))
    if train < FEWEST:
        message = f"there are {train} training rows; give at least {FEWEST}"
        problems.append(Problem(message, schema.split or ""))
    elif train < FEW:
        message = f"there are only {train} training rows; results from fewer than {FEW} are unreliable"
        problems.append(Problem(message, schema.split or "", level="warning"))
    return splits, problems


def _read(
    cells: Cells, schema: Schema, kinds: Mapping[str, Kind], train: np.ndarray, unreadable: Unreadable
) -> tuple[dict[str, Column], dict[str, Any], list[Problem]]:
    """Return the modalities that can be read as columns, what each learned, and all problems found."""
    columns: dict[str, Column] = {}
    states: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, kind in kinds.items():
        readable = cells
        if schema.unreadable == "missing":
            _, readable = unreadable.without(name, kind, cells, partial(_raise_row_errors, kind))
        problems_of_kind = kind.check(readable)
        problems += problems_of_kind
        if any(problem.level == "error" for problem in problems_of_kind):
            if any(isinstance(problem.row, int) for problem in problems_of_kind):
                problems.append(Problem(WAY_OUT, label(kind.columns()), level="warning"))
            continue
        try:
            states[name] = kind.learn(readable.take(train) if len(train) < len(cells) else readable)
            small = {**states[name], "size": GLANCE} if kind.name == "image" else states[name]
            columns[name] = kind.read(readable, small)
        except DataError as problem:
            problems.append(Problem(str(problem), kind.columns()[0]))
    try:
        unreadable.judge()
    except DataError as problem:
        problems.append(Problem(str(problem)))
    return columns, states, problems + first_ten(unreadable.problems())


def _raise_row_errors(kind: Kind, cells: Cells) -> None:
    raise_errors(label(kind.columns()), [problem for problem in kind.check(cells) if problem.row is not None])


def _target(cells: Cells, name: str, sort: str) -> tuple[dict[str, Any], list[Problem]]:
    values, problems = read_target(cells, name, sort)
    problems = first_ten(problems)
    messages = []
    facts: dict[str, Any] = {"type": sort}
    if sort == "number":
        numbers = values[np.isfinite(values)]
        if len(numbers):
            facts |= {"min": float(numbers.min()), "mean": float(numbers.mean()), "max": float(numbers.max())}
        if len(np.unique(numbers)) < 2:
            messages.append("has fewer than two distinct numbers: there is nothing to predict")
        count = len(numbers)
    else:
        labels = [value for value in values.tolist() if value is not None and value == value]
        count = len(labels)
        counts = Counter(part for label in labels for part in (label if sort == "multilabel" else (label,)))
        facts["classes"] = {str(label): times for label, times in counts.most_common(20)}
        facts["number_of_classes"] = len(counts)
        messages += _class_warnings(counts, count)
    facts["missing"] = len(values) - count
    return facts, problems + [Problem(message, name, level="warning") for message in messages]


def _class_warnings(counts: Counter[Any], row_count: int) -> list[str]:
    if len(counts) < 2:
        return [f"has {'one class' if counts else 'no label'}: there is nothing to predict"]
    if len(counts) > 20 and len(counts) > row_count / 2:
        message = f"has {len(counts)} classes in {row_count} rows"
        return [f"{message}; declare it as a number, or choose another column"]
    rare = [str(label) for label, times in counts.items() if times < 2]
    message = f"classes with a single row cannot be both learned and tested: {', '.join(rare[:10])}"
    return [message] if rare else []


def _modalities(
    kinds: Mapping[str, Kind],
    columns: Mapping[str, Column],
    surveys: Mapping[str, Survey],
    shares: Mapping[str, float],  # of test cells that occur in training
) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, column in columns.items():
        present = presence(column)
        facts[name] = {"kind": kinds[name].name, "present": int(present.sum())}
        lengths = surveys[name].lengths
        if lengths is not None and present.any():
            low, middle, high = np.quantile(lengths[present], [0, 0.5, 1])
            facts[name]["lengths"] = {"min": int(low), "median": float(middle), "max": int(high)}
        if name in shares:
            facts[name]["test_cells_seen_in_training"] = round(shares[name], 4)
    return facts


def _expected(
    columns: Mapping[str, Column], states: Mapping[str, Any], surveys: Mapping[str, Survey], rows: int
) -> dict[str, Any]:
    """Estimate the memory of the records and the time of an epoch: a rough sum, not a measurement."""
    size, work = 0.0, 1e6 * (len(columns) + 1)  # the fusion of n + 1 subsets
    for name, column in columns.items():
        is_image, lengths = column.spec.kind == "image", surveys[name].lengths
        scale = (states[name]["size"] / GLANCE) ** 2 if is_image else 1.0
        size += surveys[name].bytes * scale
        # the work is the number of multiplications in one forward pass of one record
        if is_image:
            side = GLANCE * scale**0.5
            work += side**2 * (3_100 if side <= 96 else 36_000)  # small_cnn, ResNet-18
        elif lengths is not None:
            work += float(lengths.mean()) * 2 * 12 * 192**2  # two transformer layers
        else:
            steps = column.take(np.arange(1)).values
            work += float(steps.shape[1] * 2 * 12 * 192**2) if steps.ndim > 2 else 3e5
    seconds = rows * work * 2 * 3 * 2 / FLOPS  # multiply and add, forward and backward, two views
    return {
        "records_megabytes": round(size / 2**20, 3),
        "seconds_per_epoch": round(seconds, 1),
        "assumes": "default encoders and two views on one CPU core (50 GFLOP/s); add 0.5 GB for torch",
    }
