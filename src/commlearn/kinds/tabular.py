"""Tables: numeric and categorical columns side by side, with gaps.

Numbers pass through one monotone curve per column, learned from the training rows and kept as a few
knots: a straight line if the column is well behaved, its quantiles if it is skewed or has heavy tails.
The curve is linear between knots and constant beyond them, so extreme values are clipped.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api import types

from commlearn.batch import Spec
from commlearn.errors import ConfigurationError, DataError, DataWarning, unknown
from commlearn.kinds.arrays import ArrayColumn, present_or_none
from commlearn.kinds.base import Cells, Kind, Problem
from commlearn.kinds.numbers import MISSING_NUMBERS, apply_curve, learn_curve, numbers_of, wrong_numbers
from commlearn.kinds.rows import column_name, first_ten, is_empty, named_columns, raise_errors, store_whole
from commlearn.kinds.written import FEWEST, FORMS, Parts
from commlearn.records import Column

MISSING, OTHER, FIRST = 0, 1, 2  # codes: no category, an unlearned category, the first learned one
CODE = re.compile(r"0\d+")
MANY, MOSTLY = 20, 0.8  # numeric categories, and their share, above which the others count as marks
WHOLE = re.compile(r"(0|-0|-?[1-9][0-9]*)\.0")  # whole-number floats as text; not "01.0", not "1.00"
NOTHING = f"provides nothing to learn from: no label or key occurs in {FEWEST} training rows; leave it out"
COMPOUND = (list, tuple, np.ndarray, dict, set)  # types of cells that are neither number nor category


@dataclass(frozen=True)
class Tabular(Kind):
    """Columns of a table: numbers and categories, distinguished by their type.

    Example:
        >>> import pandas as pd
        >>> cells = Cells(pd.DataFrame({"hb": [13.1, None, 9.4], "sex": ["f", "m", None]}))
        >>> kind = Tabular(["hb", "sex"])
        >>> column = kind.read(cells, kind.learn(cells))
        >>> column.spec.shape  # one number; a category of two values, missing and other
        (1, 4)
    """

    name: ClassVar[str] = "tabular"

    fields: Sequence[str] | str  # columns to read
    categorical: Sequence[str] | str = ()  # columns of numbers to read as categories
    max_categories: int = 256  # most categories of one column; rarer ones count as other
    forms: Mapping[str, str] = field(default_factory=dict, hash=False)  # form by column: date, amount, ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", named_columns("Tabular", self.fields))
        names = (self.categorical,) if isinstance(self.categorical, str | Number) else self.categorical
        categorical = tuple(map(column_name, names))
        object.__setattr__(self, "categorical", categorical)
        for column in categorical:
            if column not in self.fields:
                raise ConfigurationError("categorical: " + unknown("column", column, self.fields))
        object.__setattr__(self, "forms", self._check_forms())
        store_whole(self, "max_categories", "max_categories", 1, "at least 1")

    def _check_forms(self) -> dict[str, str]:
        if not isinstance(self.forms, Mapping):
            raise ConfigurationError(
                f"forms is {self.forms!r:.60}; give column: form, such as {{bought: date}}."
            )
        forms = {column_name(column): form for column, form in self.forms.items()}
        for column, form in forms.items():
            if column not in self.fields:
                raise ConfigurationError("forms: " + unknown("column", column, self.fields))
            if not isinstance(form, str) or form not in FORMS:
                raise ConfigurationError(f"forms, {column}: " + unknown("form", form, FORMS))
            if column in self.categorical:
                raise ConfigurationError(
                    f"{column} is named in categorical and in forms; name it in only one of them."
                )
        return forms

    def names(self) -> Sequence[str]:
        return (*self.categorical, *self.forms)

    def learn(self, cells: Cells) -> dict[str, Any]:
        """Return curves of numeric columns, names of categorical ones, and what forms learned."""
        columns = {column: cells.frame[column] for column in self.columns()}
        problems = [problem for values in columns.values() for problem in self._problems(cells, values)]
        raise_errors(", ".join(columns), problems)
        state: dict[str, Any] = {"numbers": [], "categories": []}
        forms = {column: {"form": form} for column, form in self.forms.items()}
        for column, values in columns.items():
            if column in forms:
                forms[column] |= FORMS[self.forms[column]].learn(values)
            for part, content in self._parts(values, forms.get(column)):
                origin = {"column": column} | ({} if part is None else {"part": part})
                if isinstance(content, np.ndarray):
                    knots, scores = learn_curve(content)
                    state["numbers"].append({**origin, "knots": knots, "scores": scores})
                else:
                    state["categories"].append({**origin, "names": self._names(content)})
        state |= {"forms": forms} if forms else {}
        learned = [*state["numbers"], *state["categories"]]
        if not any(part.get("knots") or part.get("names") for part in learned):
            raise DataError(f"{', '.join(columns)}: none of the training rows has a value.")
        return state

    def read(self, cells: Cells, state: dict[str, Any]) -> Column:
        """Return standardised numbers (NaN if missing), followed by the codes of categories as floats."""
        shape = (len(state["numbers"]), *(len(part["names"]) + FIRST for part in state["categories"]))
        width = shape[0] + len(state["categories"])
        table = np.empty((len(cells), width), dtype=np.float32)
        problems: list[Problem] = []
        parts_of: dict[str, Parts] = {}
        for column, learned in state.get("forms", {}).items():
            parts_of[column] = FORMS[learned["form"]].read(cells.frame[column], learned)
            problems += _wrong_cells(cells, column, parts_of[column])
            _warn_of_cells(cells, column, parts_of[column].other)
        for index, part in enumerate(state["numbers"]):
            values = cells.frame[part["column"]]
            if part["column"] in parts_of:
                numbers = parts_of[part["column"]].numbers[part["part"]]
            else:
                numbers, wrong = numbers_of(values)
                problems += wrong_numbers(cells, values, numbers, wrong)
            table[:, index] = apply_curve(numbers, part["knots"], part["scores"])
        for index, part in enumerate(state["categories"], start=shape[0]):
            values = cells.frame[part["column"]]
            if part["column"] in parts_of:
                values = parts_of[part["column"]].categories[part["part"]].rename(part["column"])
            problems += _wrong_categories(cells, values)
            if not problems:
                table[:, index] = _codes(values, part["names"])
                _warn_of_others(cells, values, table[:, index] == OTHER)
        raise_errors(", ".join(self.columns()), problems)
        numbers, codes = np.split(table, [shape[0]], axis=1)
        counts = (~np.isnan(numbers)).sum(axis=1) + (codes != MISSING).sum(axis=1)  # (records,)
        return ArrayColumn(table, Spec("tabular", shape), present_or_none(counts > 0))

    def check(self, cells: Cells) -> list[Problem]:
        all_problems = []
        for column in self.columns():
            values = cells.frame[column]
            all_problems += first_ten(self._problems(cells, values)) or self._warnings(values)
        return all_problems

    def notes(self, state: Mapping[str, Any]) -> Sequence[str]:
        used_columns = {part["column"] for part in [*state["numbers"], *state["categories"]]}
        return [f"{column} {NOTHING}" for column in state.get("forms", {}) if column not in used_columns]

    def _parts(
        self, values: pd.Series, learned: dict[str, Any] | None
    ) -> Iterator[tuple[str | None, np.ndarray | pd.Series]]:
        """Yield the numbers or categories of a column; for a column with a form, each part with its name."""
        if learned is not None:
            parts = FORMS[learned["form"]].read(values, learned)
            yield from parts.numbers.items()
            yield from parts.categories.items()
        else:
            yield None, values if self._sort(values) == "category" else numbers_of(values)[0]

    def _sort(self, values: pd.Series) -> str:
        return "category" if values.name in self.categorical else _sort(values)

    def _names(self, values: pd.Series) -> list[str]:
        """Return the names of the most frequent categories, in an order that is independent of the rows'."""
        indices, keys = _keys(values)
        counts: Counter[str] = Counter()
        for key, count in zip(keys, np.bincount(indices[indices >= 0], minlength=len(keys)), strict=True):
            if key is not None:
                counts[key] += int(count)
        ranked = sorted(counts, key=lambda key: (-counts[key], key))
        return sorted(ranked[: self.max_categories])

    def _problems(self, cells: Cells, values: pd.Series) -> list[Problem]:
        """Return the problems that prevent learning from a column."""
        if values.name in self.forms:
            form = FORMS[self.forms[values.name]]
            return _wrong_cells(cells, str(values.name), form.read(values, form.learn(values)))
        sort = self._sort(values)
        if sort == "category":
            return _wrong_categories(cells, values)
        if sort == "number":
            return wrong_numbers(cells, values, *numbers_of(values))
        return [Problem(sort, str(values.name))]

    def _warnings(self, values: pd.Series) -> list[Problem]:
        column, messages = str(values.name), []
        if column in self.forms:
            distinct = int(values.astype(str).where(values.notna()).nunique())
            learned = {"form": self.forms[column], **FORMS[self.forms[column]].learn(values)}
            if distinct > 1 and not list(self._parts(values, learned)):
                messages.append(NOTHING)
        elif self._sort(values) == "category":
            names = {key for key in _keys(values)[1] if key is not None}
            distinct, filled = len(names), int(values.count())
            is_text = types.infer_dtype(values, skipna=True) == "string"
            if distinct > 2 and is_text:
                messages += _numbers_as_text(sorted(names))
            if distinct > self.max_categories:
                messages.append(f"has {distinct} categories; all but {self.max_categories} count as other")
            if distinct > 20 and distinct > 0.9 * filled:
                messages.append(
                    f"has {distinct} categories in {filled} cells, like an identifier; leave it out"
                )
        else:
            numbers = numbers_of(values)[0]
            distinct = len(np.unique(numbers[~np.isnan(numbers)]))
        if distinct == 0:
            messages.append("is empty in every row; leave it out")
        if distinct == 1:
            messages.append("is constant and carries no information; leave it out")
        return [Problem(message, column, level="warning") for message in messages]


def _numbers_as_text(names: list[str]) -> list[str]:
    """Return warnings about categories if all or nearly all of them are numbers."""
    numeric = pd.to_numeric(pd.Series(names), errors="coerce").notna()
    if any(CODE.fullmatch(name) for name in names):  # a postcode such as 04109 is not a number
        return []
    if numeric.all():
        return ["holds numbers as text, which are read as categories; convert them with pd.to_numeric"]
    marks = [name[:20] for name, number in zip(names, numeric, strict=True) if not number]
    if numeric.sum() <= MANY or numeric.mean() < MOSTLY:
        return []
    examples = ", ".join(map(repr, marks[:3]))
    return [
        f"holds numbers except for {examples}, and is read as categories; empty these cells to read numbers"
    ]


def _sort(values: pd.Series) -> str:
    """Return "number" or "category", whichever a column holds, or a sentence on what is wrong with it."""
    if isinstance(values.dtype, pd.CategoricalDtype) or types.is_bool_dtype(values):
        return "category"
    if types.is_complex_dtype(values):
        return "holds complex numbers; give their real and imaginary parts as two columns"
    if types.is_numeric_dtype(values):
        return "number"
    sort = types.infer_dtype(values, skipna=True)
    if sort in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
        return "number"
    if sort in ("string", "boolean", "categorical"):
        return "category"
    if sort == "unknown-array" and values.dtype != object:  # Arrow dictionary, whose cells are plain
        return _sort(values.astype(object))
    if any(isinstance(cell, COMPOUND) for cell in values):
        return "holds lists; read them as a Series or a Vector"
    filled = values.dropna()
    if not len(filled):
        return "number"
    example = str(filled.iloc[0])
    if sort.startswith(("date", "time", "period", "interval")):
        form = f"state forms: {{{values.name}: date}}"
        advice = form if sort.startswith("date") else "convert them to numbers, such as hours"
        return f"holds {sort} cells such as {example!r}; {advice}"
    text = next((cell for cell in values if isinstance(cell, str)), example)
    return (
        f"mixes numbers with text such as {text!r}; correct these cells, or list the column in `categorical`"
    )


def _keys(values: pd.Series) -> tuple[np.ndarray, list[str | None]]:
    """Return each cell's index into the distinct cells (-1: empty), and their names (None: blank)."""
    indices, distinct = pd.factorize(values)
    return np.asarray(indices), [_key(value) for value in distinct]


def _key(value: Any) -> str | None:
    """Return one name for 1, 1.0, "1", "1.0", True and "TRUE": a column may be stored as several types."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return str(int(value.strip().lower() == "true"))
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if is_empty(value):
        return None
    match = WHOLE.fullmatch(str(value))
    return str(value) if match is None else match[1].replace("-0", "0")


def _codes(values: pd.Series, names: list[str]) -> np.ndarray:
    indices, keys = _keys(values)
    code_of = {_key(name): code for code, name in enumerate(names, start=FIRST)}
    # words such as NA count as missing unless they were learned: earlier versions emptied them in CSV
    missing = {None, *MISSING_NUMBERS} - code_of.keys()
    codes = [MISSING if key is None or key in missing else code_of.get(key, OTHER) for key in keys]
    return np.array([*codes, MISSING])[indices]  # an empty cell's index is -1, the last entry


def _warn_of_others(cells: Cells, values: pd.Series, others: np.ndarray) -> None:
    """Warn about categories that the model never saw; this is not an error."""
    rows = np.flatnonzero(others)
    if len(rows):
        rest = f" and {len(rows) - 1} more rows" if len(rows) > 1 else ""
        message = (
            f"{str(values.iloc[rows[0]])[:60]!r}{rest}: not among the learned categories; counted as other"
        )
        problem = Problem(message, str(values.name), cells.first_row + int(rows[0]), "warning")
        warnings.warn(DataWarning(str(problem)), stacklevel=2)


def _wrong_cells(cells: Cells, column: str, parts: Parts) -> list[Problem]:
    return [Problem(message, column, cells.first_row + row) for row, message in sorted(parts.wrong.items())]


def _warn_of_cells(cells: Cells, column: str, other: Mapping[int, str]) -> None:
    """Warn about valid cells whose content was too rare in training rows; they count as missing."""
    if other:
        row, description = min(other.items())
        rest = f", as are {len(other) - 1} more rows" if len(other) > 1 else ""
        message = f"{description} that too few training rows have; read as empty{rest}"
        warnings.warn(DataWarning(str(Problem(message, column, cells.first_row + row))), stacklevel=2)


def _wrong_categories(cells: Cells, values: pd.Series) -> list[Problem]:
    nested = isinstance(values.dtype, pd.ArrowDtype) and pa.types.is_nested(values.dtype.pyarrow_dtype)
    if values.dtype != object and not nested:
        return []
    return [
        Problem(f"a {type(cell).__name__} is not a category; give text or a number", str(values.name), row)
        for row, cell in enumerate(values, start=cells.first_row)
        if isinstance(cell, COMPOUND)
    ]
