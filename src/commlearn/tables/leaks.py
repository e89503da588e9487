"""What lets a score look better than it is: copies and groups in two splits, answers among the inputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from commlearn.errors import DataWarning
from commlearn.kinds.base import Cells, Problem
from commlearn.kinds.numbers import as_numbers
from commlearn.kinds.rows import LISTED, first_ten
from commlearn.kinds.tabular import Tabular
from commlearn.tables.names import odd_names
from commlearn.tables.schema import Schema

__all__ = ["copies", "group_leaks", "named", "possible_answers", "seen_in_training", "warn_of_answers"]

YES_OR_NO = ("true", "false", "yes", "no")


def copies(
    prints: Mapping[str, np.ndarray], splits: Mapping[str, np.ndarray], cells: Cells, schema: Schema
) -> list[Problem]:
    """Warnings for records that look like an earlier one in every modality.

    Args:
        prints: what each record looks like, by modality.
        splits: positions of the rows of each split.
        cells: the rows.
        schema: which columns the modalities read.
    """
    looks = _all(prints)
    where: np.ndarray = np.full(len(looks), "", dtype=object)
    for name, members in splits.items():
        where[members] = name
    frame = pd.DataFrame({"look": looks, "split": where, "row": np.arange(len(looks))})
    frame = frame[frame["split"] != ""]
    train = frame[frame["split"] == "train"].drop_duplicates("look").set_index("look")["row"]
    leaked = frame[(frame["split"] != "train") & frame["look"].isin(train.index)]
    columns = [column for kind in schema.modalities.values() for column in kind.columns()]
    problems = []
    for row, look, split in zip(leaked["row"], leaked["look"], leaked["split"], strict=True):
        same = "is" if _equal(cells, columns, row, train[look]) else "looks like"
        message = (
            f"this record of {split} {same} row {cells.first_row + train[look]} of train in every modality"
        )
        problems.append(Problem(message, row=cells.first_row + int(row), level="warning"))
    problems = first_ten(problems)
    again = frame[frame.duplicated(["look", "split"])]
    if len(again):
        rows = ", ".join(str(cells.first_row + row) for row in again["row"][:LISTED])
        message = (
            f"{len(again)} records look like an earlier one in every modality (rows {rows}"
            f"{', ...' if len(again) > LISTED else ''}); in a contrast they are negatives of themselves"
            + ("" if len(splits) > 1 else ", and a random split would put copies on both sides")
        )
        problems.append(Problem(message, level="warning"))
    return problems


def seen_in_training(prints: Mapping[str, np.ndarray], splits: Mapping[str, np.ndarray]) -> dict[str, float]:
    """For each modality, the share of its test records whose cell training records show too."""
    if not {"train", "test"} <= splits.keys():
        return {}
    shares = {}
    for name, looks in prints.items():
        test = looks[splits["test"]]
        test = test[test != 0]
        shares[name] = float(np.isin(test, looks[splits["train"]]).mean()) if len(test) else 0.0
    return shares


def group_leaks(cells: Cells, column: str, splits: Mapping[str, np.ndarray]) -> list[Problem]:
    """Errors for groups that have rows in several splits."""
    odd = odd_names(cells, column)
    if odd:
        return first_ten(odd)
    groups = cells.frame[column]
    problems = []
    missing = int(groups.isna().sum())
    if missing:
        message = f"{missing} rows belong to no group and count as groups of their own"
        problems.append(Problem(message, column, level="warning"))
    where: dict[object, dict[str, int]] = {}
    for name, rows in splits.items():
        part = groups.iloc[rows].dropna()
        for row, group in zip(part.index[~part.duplicated()], part.drop_duplicates().tolist(), strict=True):
            where.setdefault(group, {})[name] = int(row)
    leaked = [
        Problem(
            f"group {group!r} is in {' and '.join(rows)} (rows {', '.join(map(str, rows.values()))}); "
            "keep each group in one split",
            column,
            cells.first_row + max(rows.values()),
        )
        for group, rows in where.items()
        if len(rows) > 1
    ]
    return problems + first_ten(leaked)


def possible_answers(frame: pd.DataFrame) -> list[str]:
    """The columns of two numbers, or of yes and no, as the answers that a user may want to predict have.

    Example:
        >>> possible_answers(pd.DataFrame({"died": [0, 1, 1], "age": [70, 81, 64], "sex": ["f", "m", "f"]}))
        ['died']
    """
    return [str(name) for name in frame.columns if _yes_or_no(frame[name])]


def warn_of_answers(frame: pd.DataFrame, schema: Schema, stacklevel: int = 2) -> None:
    """One warning that names the columns among the inputs of a guessed schema that may be answers."""
    tables = [kind for kind in schema.modalities.values() if isinstance(kind, Tabular)]
    answers = possible_answers(frame[[column for kind in tables for column in kind.columns()]])
    if answers:
        message = (
            f"No schema was given, and columns of two values became inputs: {named(answers)}. If one of them "
            "is an answer, the embedding sees it: leave the column out of the table, or name it with "
            f"targets={{{answers[0]!r}: 'class'}} of Embedder or of a Schema (`commlearn init TABLE "
            f"--target {answers[0]}` writes one)."
        )
        warnings.warn(DataWarning(message), stacklevel=stacklevel)


def named(columns: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    return ", ".join(columns[:LISTED]) + more


def _yes_or_no(values: pd.Series) -> bool:
    if pd.api.types.is_float_dtype(values) or pd.api.types.is_integer_dtype(values):
        return values.nunique() == 2
    cells = values.dropna()
    if not all(isinstance(cell, str | float | int | np.number | np.bool_) for cell in cells):
        return False
    cells = cells.map(lambda cell: str(cell).strip().lower())
    distinct = pd.Series(cells[cells != ""].unique())
    return len(distinct) == 2 and bool((distinct.isin(YES_OR_NO) | ~np.isnan(as_numbers(distinct))).all())


def _all(prints: Mapping[str, np.ndarray]) -> np.ndarray:
    """One look for each record, of all its modalities."""
    together = np.stack(list(prints.values()), axis=1)  # (records, modalities)
    return np.array([hash(row.tobytes()) for row in together], dtype=np.int64)


def _equal(cells: Cells, columns: list[str], first: int, second: int) -> bool:
    return all(str(cells.frame[name].iloc[first]) == str(cells.frame[name].iloc[second]) for name in columns)
