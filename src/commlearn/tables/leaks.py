"""Leaks that make a score look too good: copies and groups in two splits, answers among the inputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from commlearn.errors import DataWarning
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.numbers import NUMBERS, as_numbers
from commlearn.kinds.rows import LISTED, evenly_spaced, first_names, first_ten, is_empty
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.written import FORMS
from commlearn.tables.roles import TARGETS, WORDS, odd_names
from commlearn.tables.schema import Schema
from commlearn.tables.splits import name_keys

YES_OR_NO = ("true", "false", "yes", "no")
EVEN = 0.25  # share of equal gaps between neighbouring numbers from which they are whole or rounded


def copies(
    prints: Mapping[str, np.ndarray], splits: Mapping[str, np.ndarray], cells: Cells, schema: Schema
) -> list[Problem]:
    """Return warnings for records that look like one in train, or an earlier one, in every modality.

    Args:
        prints: fingerprint of each record, by modality.
        splits: positions of the rows of each split; every row is in one.
        cells: the rows of the table.
        schema: which columns the modalities read.
    """
    hashes = pd.util.hash_pandas_object(pd.DataFrame(prints), index=False).to_numpy()  # over all modalities
    frame = pd.DataFrame({"look": hashes, "split": "", "row": np.arange(len(hashes))})
    for name, members in splits.items():
        frame.loc[members, "split"] = name
    train = frame[frame["split"] == "train"].drop_duplicates("look").set_index("look")["row"]
    leaked = frame[(frame["split"] != "train") & frame["look"].isin(train.index)]
    columns = [column for kind in schema.modalities.values() for column in kind.columns()]
    problems = []
    examples = leaked[:LISTED]
    for row, key, split in zip(examples["row"], examples["look"], examples["split"], strict=True):
        relation = "equals" if _equal(cells, columns, row, train[key]) else "looks like"
        other = f"row {cells.first_row + train[key]} of train in every modality"
        message = f"this record of {split} {relation} {other}"
        problems.append(Problem(message, row=cells.first_row + int(row), level="warning"))
    if len(leaked) > LISTED:
        problems.append(Problem(f"and {len(leaked) - LISTED} more rows like these", level="warning"))
    repeated = frame[frame.duplicated(["look", "split"])]
    if len(repeated):
        rows = ", ".join(str(cells.first_row + row) for row in repeated["row"][:LISTED])
        rows += ", ..." if len(repeated) > LISTED else ""
        both_sides = "" if len(splits) > 1 else ", and a random split would put copies on both sides"
        message = (
            f"{len(repeated)} records look like an earlier one in every modality (rows {rows}); a "
            f"contrastive loss treats such copies as negatives of each other{both_sides}"
        )
        problems.append(Problem(message, level="warning"))
    return problems


def training_overlap(prints: Mapping[str, np.ndarray], splits: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return by modality the share of test records whose cell also occurs in training."""
    if not {"train", "test"} <= splits.keys():
        return {}
    shares = {}
    for name, fingerprints in prints.items():
        test = fingerprints[splits["test"]]
        test = test[test != 0]
        shares[name] = float(np.isin(test, fingerprints[splits["train"]]).mean()) if len(test) else 0.0
    return shares


def group_leaks(cells: Cells, column: str, splits: Mapping[str, np.ndarray]) -> list[Problem]:
    """Return errors for groups with rows in several splits, and a warning for rows without a group."""
    if name_problems := odd_names(cells, column):
        return first_ten(name_problems)
    groups = cells.frame[column]
    keys, present = name_keys(groups)  # a split compares names in the same way
    problems = []
    if missing := int((~present).sum()):
        message = f"{missing} rows have no group; each counts as a group of its own"
        problems.append(Problem(message, column, level="warning"))
    first_rows: dict[int, dict[str, int]] = {}
    for name, rows in splits.items():
        for row in rows[present[rows]].tolist():
            first_rows.setdefault(int(keys[row]), {}).setdefault(name, row)
    leaked = [
        Problem(
            f"group {groups.iloc[min(rows.values())]!r} is in {' and '.join(rows)} "
            f"(rows {', '.join(map(str, rows.values()))}); keep each group in one split",
            column,
            cells.first_row + max(rows.values()),
        )
        for rows in first_rows.values()
        if len(rows) > 1
    ]
    return problems + first_ten(leaked)


def possible_answers(frame: pd.DataFrame) -> list[str]:
    """Return columns of two numbers, or of yes and no, which may be answers that a user wants to predict.

    Example:
        >>> possible_answers(pd.DataFrame({"died": [0, 1, 1], "age": [70, 81, 64], "sex": ["f", "m", "f"]}))
        ['died']
    """
    return [str(name) for name in frame.columns if _yes_or_no(frame[name])]


ANSWERS = {"label", "labels", "target", "targets", "outcome", "diagnosis", "answer", "prognosis"}  # in names
LOOKED_AT = 20_000  # rows to compare, at most
FEWEST = 20  # minimum number of rows with both cells: fewer may agree by chance
STRAIGHT = 0.9999  # correlation from which two columns are the same up to scale, offset and rounding
NEARLY = 0.99  # share of rows whose class few values determine, from which a column is nearly the target
PER_VALUE, OF_A_CLASS = 5, 5  # minimum number of rows per value on average, and of the rarest class
MOST_FREQUENT = 0.9  # maximum share of the largest class


def likely_answers(frame: pd.DataFrame, schema: Schema) -> dict[str, str]:
    """Return input columns that give a target away, or whose name suggests an answer, each with the reason.

    Example:
        >>> age = np.arange(40.0)
        >>> frame = pd.DataFrame({"age": age, "months": 12 * age + 3, "hb": np.cos(age)})
        >>> likely_answers(frame, Schema({"t": Tabular(["months", "hb"])}, targets={"age": "number"}))
        {'months': 'is target age up to scale and offset'}
    """
    frame = frame.iloc[list(evenly_spaced(len(frame), LOOKED_AT))].reset_index(drop=True)
    reasons: dict[str, str] = {}
    targets = {
        name: _PreparedColumn(frame[name], sort) for name, sort in schema.targets.items() if name in frame
    }
    for modality, kind in schema.modalities.items():
        for column in kind.columns():
            if column in targets:
                reasons[column] = f"is a target that is also read by modality {modality}"
            if column not in frame or column in targets:
                continue
            parts = map(_PreparedColumn, _parts(frame[column], kind)) if targets else ()
            reasons_of_parts = (
                _gives_away(part, target, name) for part in parts for name, target in targets.items()
            )
            reason = next(filter(None, reasons_of_parts), "")
            if not reason and {word.lower() for word in WORDS.findall(column)} & ANSWERS:
                reason = "has a name that suggests an answer"
            if reason:
                reasons[column] = reason
    return reasons


def answer_notes(frame: pd.DataFrame, schema: Schema) -> tuple[str, ...]:
    """Return a note for each input column that is likely to be an answer."""
    return tuple(
        f"{column} {reason} and is an input, so the embedding contains it"
        for column, reason in likely_answers(frame, schema).items()
    )


def _parts(values: pd.Series, kind: Kind) -> list[pd.Series]:
    """Return the column, or the columns that its form reads from it."""
    form = FORMS.get(kind.forms.get(str(values.name), "")) if isinstance(kind, Tabular) else None
    if form is None:
        return [values]
    parts = form.read(values, form.learn(values))
    return [pd.Series(numbers) for numbers in parts.numbers.values()] + [*parts.categories.values()]


class _PreparedColumn:
    def __init__(self, cells: pd.Series, sort: str = "") -> None:
        self.cells, self.sort = cells, sort
        self.filled = np.array([not is_empty(cell) for cell in cells], dtype=bool)
        self.single = np.array([isinstance(cell, NUMBERS) for cell in cells], dtype=bool)

    @cached_property
    def numbers(self) -> np.ndarray:
        return TARGETS["number"](self.cells)[0] if self.sort == "number" else as_numbers(self.cells)

    @cached_property
    def texts(self) -> np.ndarray:
        texts = [str(cell) if single else "" for cell, single in zip(self.cells, self.single, strict=True)]
        return np.array(texts, dtype=object)


def _gives_away(values: _PreparedColumn, target: _PreparedColumn, name: str) -> str:
    """Describe how a column gives a target away; "" if it does not."""
    both_filled = values.filled & target.filled
    if both_filled.sum() < FEWEST or not (values.single & target.single)[both_filled].all():
        return ""
    answers, numbers = target.numbers[both_filled], values.numbers[both_filled]
    texts, classes = values.texts[both_filled], target.texts[both_filled]
    numeric = not np.isnan(numbers).any()
    ordered = numeric and not np.isnan(answers).any() and len(np.unique(answers)) > 2
    if ordered and (relation := _numeric_relation(numbers, answers, name)):
        return relation
    if target.sort == "number":
        return ""
    codes, class_codes = np.unique(texts, return_inverse=True)[1], np.unique(classes, return_inverse=True)[1]
    counts = np.bincount(class_codes)
    if len(counts) < 2 or counts.min() < OF_A_CLASS or counts.max() > MOST_FREQUENT * len(texts):
        return ""
    if codes.max() + 1 <= len(texts) / PER_VALUE:
        table = np.zeros((codes.max() + 1, len(counts)), dtype=np.int64)
        np.add.at(table, (codes, class_codes), 1)
        correct = int(table.max(axis=1).sum())
        if correct == len(texts):
            one_to_one = len(table) == len(counts)
            return f"is a copy of target {name}" if one_to_one else f"determines target {name} in every row"
        if correct >= NEARLY * len(texts):
            return f"determines target {name} in {correct} of {len(texts)} rows"
    if numeric and len(counts) == 2:
        first, second = numbers[class_codes == 0], numbers[class_codes == 1]
        if second.min() > first.max() or second.max() < first.min():
            return f"separates the two classes of target {name} by a threshold"
    return ""


def _numeric_relation(numbers: np.ndarray, answers: np.ndarray, name: str) -> str:
    if not (np.isfinite(numbers).all() and np.isfinite(answers).all() and np.ptp(numbers) > 0):
        return ""
    with np.errstate(over="ignore", invalid="ignore"):
        if abs(np.corrcoef(numbers, answers)[0, 1]) >= STRAIGHT:
            return f"is target {name}{'' if (numbers == answers).all() else ' up to scale and offset'}"
        ranks = np.array([np.unique(values, return_inverse=True)[1] for values in (numbers, answers)])
        if len(np.unique(numbers)) > 2 and abs(np.corrcoef(ranks)[0, 1]) >= STRAIGHT:
            return f"has the same order as target {name}"
    return ""


def is_continuous(numbers: np.ndarray) -> bool:
    """Whether equal numbers are no coincidence: sorted, they do not mostly follow one another in equal steps.

    Example:
        >>> is_continuous(np.array([18.0, 19, 20, 22, 20, 999]))
        False
    """
    gaps = np.diff(np.unique(numbers))
    return bool(len(gaps) and np.isclose(gaps, gaps.min(), rtol=1e-3, atol=0).mean() < EVEN)


def warn_of_likely_answers(frame: pd.DataFrame, schema: Schema, stacklevel: int = 2) -> None:
    """Issue one warning that names the input columns that are likely to be answers."""
    reasons = [f"{column} {reason}" for column, reason in likely_answers(frame, schema).items()]
    if reasons:
        message = f"Some inputs may be answers: {first_names(reasons, '; ')}"
        message += ". Leave out of the modalities any that are, or declare them as targets."
        warnings.warn(DataWarning(message), stacklevel=stacklevel)


def warn_of_answers(frame: pd.DataFrame, schema: Schema, stacklevel: int = 2) -> None:
    """Issue one warning that names the input columns of a guessed schema that may be answers."""
    tables = [kind for kind in schema.modalities.values() if isinstance(kind, Tabular)]
    answers = possible_answers(frame[[column for kind in tables for column in kind.columns()]])
    if answers:
        message = (
            "No schema was given, and columns with two values became inputs: "
            f"{first_names(answers)}. If one of them is an answer, the embedding contains it: leave the "
            "column out of the table, or name it with "
            f"targets={{{answers[0]!r}: 'class'}} of Embedder or of a Schema (`commlearn init TABLE "
            f"--target {answers[0]}` writes one)."
        )
        warnings.warn(DataWarning(message), stacklevel=stacklevel)


def _yes_or_no(values: pd.Series) -> bool:
    if pd.api.types.is_float_dtype(values) or pd.api.types.is_integer_dtype(values):
        return values.nunique() == 2
    cells = values.dropna()
    if not all(isinstance(cell, str | float | int | np.number | np.bool_) for cell in cells):
        return False
    cells = cells.map(lambda cell: str(cell).strip().lower())
    distinct = pd.Series(cells[cells != ""].unique())
    return len(distinct) == 2 and bool((distinct.isin(YES_OR_NO) | ~np.isnan(as_numbers(distinct))).all())


def _equal(cells: Cells, columns: list[str], first: int, second: int) -> bool:
    return all(str(cells.frame[name].iloc[first]) == str(cells.frame[name].iloc[second]) for name in columns)
