"""Guesses of the form in which columns are written and of cells that mean empty, each with a reason."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from commlearn.kinds.numbers import MISSING_NUMBERS
from commlearn.kinds.rows import evenly_spaced, is_empty
from commlearn.kinds.written import (
    FACTORS,
    FORMS,
    WORDS,
    YEAR_LAST,
    Amount,
    amount_of,
    labels_of,
    moment_of,
    numbers_in,
    object_of,
    separator_of,
    share_of,
)
from commlearn.storage.plain_json import parse_json

MOST = 0.95  # minimum share of the filled cells that are written in the form
FEWEST = 5  # minimum number of filled cells
LOOKED_AT = 20_000  # rows to look at, at most
MANY = 20  # maximum number of different values that may be categories or classes
SCALES = {3, 4, 5, 6, 7, 10, 20, 100}  # possible maximum points of a rating
SEVERAL = 0.1  # share of cells with several labels above which a column holds labels; with commas, twice that
LABELS = 100  # maximum number of different labels
BETWEEN_COMMAS, REPEATED, SHORT = 40, 5, 25  # labels between commas: most, mean repeats, most characters
CODE = re.compile(r"0\d+")
ORDINALS = {"st", "nd", "rd", "th"}


class Writing(NamedTuple):
    """The form in which a column is written, and the reason for this guess."""

    form: str
    reason: str


def guessed_form(column: pd.Series) -> Writing | None:
    """Guess the form of a column; None if it has none, or if it remains unclear.

    Example:
        >>> guessed_form(pd.Series(["3 kg", "500 g", "1 kg", "2 kg", "750 g"]))
        Writing(form='amount', reason='amounts in kg (3), g (2), converted to kg')
        >>> guessed_form(pd.Series(["oak", "pine", "oak", "pine", "oak"])) is None
        True
    """
    if pd.api.types.is_numeric_dtype(column):
        return None
    sample = column.iloc[list(evenly_spaced(len(column), LOOKED_AT))]
    filled = sample[[not is_empty(cell) for cell in sample.astype(object)]]
    if len(filled) < FEWEST:
        return None
    cells = filled.astype(object).tolist()
    guesses = (_answers, _dates, _ratings, _amounts, _several_numbers, _objects, _labels)
    writing = next((writing for guess in guesses if (writing := guess(cells))), None)
    if writing is None:
        return None
    form = FORMS[writing.form]
    parts = form.read(filled, form.learn(filled))
    arrays = [*parts.numbers.values(), *(pd.factorize(part)[0] for part in parts.categories.values())]
    if not any(len(np.unique(part[~np.isnan(part)])) > 1 for part in arrays):
        return None  # no part of it varies
    if parts.wrong:
        example = str(filled.iloc[min(parts.wrong)])[:30]
        total = "" if len(sample) == len(column) else f" of {len(filled)}"
        reason = f"{writing.reason}; {len(parts.wrong)}{total} cells are not, such as {example!r}"
        return Writing(writing.form, f"{reason}: correct or empty them, or set unreadable: missing")
    return writing


def _share(cells: list[Any], read: Any) -> float:
    return sum(read(cell) is not None for cell in cells) / len(cells)


def _answers(cells: list[Any]) -> Writing | None:
    if not all(isinstance(cell, str) for cell in cells):
        return None
    words = Counter(cell.strip().lower() for cell in cells)
    if not words.keys() <= WORDS.keys() or words.keys() <= {"0", "1", "true", "false"}:
        return None
    if {WORDS[word] for word in words} != {0.0, 1.0}:
        return None
    return Writing("yes-no", f"yes and no, written as {', '.join(word for word, _ in words.most_common(6))}")


def _dates(cells: list[Any]) -> Writing | None:
    description = "age, year, month, weekday and hour become numbers where they vary"
    if all(isinstance(cell, date | np.datetime64) for cell in cells):
        return Writing("date", f"dates: {description}")
    learned = FORMS["date"].learn(pd.Series(cells, dtype=object))
    if _share(cells, lambda cell: moment_of(cell, learned["order"])) < MOST:
        return None
    has_year_last = any(YEAR_LAST.fullmatch(str(cell).strip()) for cell in cells)
    return Writing("date", f"dates{', ' + learned['order'] if has_year_last else ''}: {description}")


def any_moment(cell: Any) -> datetime | None:
    """Return the date and time in a cell, trying the day first, then the month first; None if it has none."""
    return moment_of(cell, "day first") or moment_of(cell, "month first")


def amount_in_unit(cell: Any) -> Amount | None:
    """Return the number in a cell, alone or with a plausible unit; None if the cell holds anything else."""
    amount = amount_of(cell)
    return amount if amount is not None and (not amount.unit or _is_unit(amount.unit)) else None


def _ratings(cells: list[Any]) -> Writing | None:
    shares = [share for cell in cells if (share := share_of(cell))]
    scales = Counter(maximum for _, maximum in shares)
    if len(shares) < MOST * len(cells) or not scales.keys() <= SCALES or len(scales) > 3:
        return None
    return Writing("rating", f"ratings out of {', '.join(map(str, scales))}, read as shares of the maximum")


def _amounts(cells: list[Any]) -> Writing | None:
    pairs = [(cell, amount) for cell in cells if isinstance(cell, str) and (amount := amount_of(cell))]
    if not pairs or len(pairs) < MOST * len(cells):
        return None
    amounts = [amount for _, amount in pairs]
    units = Counter(amount.unit for amount in amounts)
    without_unit = units.pop("", 0)
    if not units:
        return _bare_numbers(amounts)
    unknown_units = [unit for unit in units if not _is_unit(unit)]
    spaced = all(" " in cell.strip() for cell, amount in pairs if amount.unit in unknown_units)
    if without_unit > (1 - MOST) * len(cells) and unknown_units:
        return None
    if unknown_units and (len(units) > 1 or not spaced or unknown_units[0].lower() in ORDINALS):
        return None
    reason = "amounts in " + ", ".join(f"{unit} ({count})" for unit, count in units.most_common(8))
    if without_unit:
        reason += f", without a unit ({without_unit})"
    if without_unit or len({FACTORS[unit][0] if unit in FACTORS else unit for unit in units}) > 1:
        reason += ": kept apart, one column of numbers per unit"
    elif len(units) > 1:
        reason += f", converted to {units.most_common(1)[0][0]}"
    return Writing("amount", reason)


def _is_unit(unit: str) -> bool:
    return unit in FACTORS or not unit[0].isalpha() or (len(unit) == 3 and unit.isupper())  # last: currencies


def _bare_numbers(amounts: list[Amount]) -> Writing | None:
    """Recognise numbers written as text, unless they may be codes, categories or ids."""
    texts = {amount.written for amount in amounts}
    if any(CODE.fullmatch(text) for text in texts) or len(texts) <= MANY:
        return None
    if len(texts) == len(amounts) and all(text.isdigit() for text in texts):
        return None
    return Writing("amount", "numbers written as text")


def _several_numbers(cells: list[Any]) -> Writing | None:
    """Recognise measures such as 139/85, but not unique whole numbers, which may number records: 17/2023."""
    if _share(cells, any_moment) >= MOST:  # dates, but it is unclear whether the day or the month comes first
        return None
    rows = [numbers for cell in cells if (numbers := numbers_in(cell)) is not None]
    if len(rows) < MOST * len(cells) or len({len(numbers) for numbers in rows}) > 1:
        return None
    unique_integers = len(set(rows)) == len(rows) and all(part.is_integer() for row in rows for part in row)
    if unique_integers or len(set(rows)) <= MANY:
        return None
    return Writing("numbers", f"{len(rows[0])} numbers per cell, such as {str(cells[0])[:30]}")


def _objects(cells: list[Any]) -> Writing | None:
    if isinstance(cells[0], str) and not cells[0].lstrip().startswith("{"):
        return None
    if any(isinstance(cell, dict) and cell.keys() & {"bytes", "path"} for cell in cells):
        return None  # files, as the `datasets` library stores them
    if _share(cells, object_of) < MOST:
        return None
    learned = FORMS["json"].learn(pd.Series(cells, dtype=object))
    keys = [*learned["numbers"], *learned["categories"]]
    others = {str(key) for cell in cells for key in parsed(cell, ())}
    others -= {*keys, *(key.partition(".")[0] for key in keys)}
    note = f"; not read: {', '.join(sorted(others)[:10])}" if others else ""
    return Writing("json", f"JSON objects; keys read: {', '.join(keys[:20])}{note}") if keys else None


def parsed(cell: Any, otherwise: Any) -> Any:
    """Return the values of JSON text, or `otherwise` if it is none; return any other cell unchanged."""
    try:
        return parse_json(cell) if isinstance(cell, str) else cell
    except ValueError:
        return otherwise


def _labels(cells: list[Any]) -> Writing | None:
    separator = separator_of(pd.Series(cells, dtype=object))
    label_lists = [labels for cell in cells if (labels := labels_of(cell, separator)) is not None]
    if len(label_lists) < MOST * len(cells):
        return None
    counts = Counter(label for labels in label_lists for label in labels)
    total = counts.total()
    are_lists = not any(isinstance(cell, str) and not cell.lstrip().startswith("[") for cell in cells)
    values = (parsed(cell, ()) for cell in cells[:100])
    lists = (value for value in values if isinstance(value, list | tuple | set | frozenset | np.ndarray))
    if are_lists and not any(isinstance(part, str) for value in lists for part in value):
        return None
    if not counts or len(counts) > min(LABELS, total / 2):
        return None
    share = sum(len(labels) > 1 for labels in label_lists) / len(cells)
    if not are_lists and share <= SEVERAL:
        return None
    if separator == "," and not are_lists:
        short = all(len(label) <= SHORT and len(label.split()) <= 3 for label in counts)
        words = all(any(character.isalpha() for character in label) for label in counts)
        few = len(counts) <= min(BETWEEN_COMMAS, total / REPEATED)
        if not (short and words and few and share >= 2 * SEVERAL):
            return None
    examples = ", ".join(label for label, _ in counts.most_common(5))
    layout = "in lists" if are_lists else f"separated by {separator}"
    reason = f"several labels per cell, {layout}: {len(counts)} different ones, such as {examples}"
    return Writing("labels", reason)


EMPTY_WORDS = ("n/a", "N/A", "#N/A", "-", "--", "–", "—", "?", "NULL", "null", "NaN", "nan", "<NA>")
"""Words that mean an empty cell even in a column of words."""
BESIDE_NUMBERS = (
    *(*EMPTY_WORDS, *MISSING_NUMBERS, "unknown", "Unknown", "unbekannt", "k.A.", "k. A.", "n.a.", "n. a."),
    *("tbd", "TBD", "missing", "Missing", ".", "..", "...", "…", "not available", "not known"),
)
"""Words that mean an empty cell if all others are numbers, dates, amounts, ratings, or yes and no."""
CODES = (-9, -99, -999, -9999, -99999, -999999, 99, 999, 9999, 99999, 999999)
REPEATED_CODE = 2  # minimum number of rows with a code


def guessed_missing(column: pd.Series) -> tuple[list[Any], str]:
    """Return the cell values that mean an empty cell, and the reason; nothing if that is not certain.

    Example:
        >>> guessed_missing(pd.Series([31, -999, 44, 60, -999, 27]))
        ([-999], '2 cells are -999, the others 27 to 60')
        >>> guessed_missing(pd.Series(["1,5", "n.a.", "2", "7", "3", "4"]))
        (['n.a.'], '1 cell is n.a., the others are numbers with or without a unit')
    """
    if pd.api.types.is_bool_dtype(column):
        return [], ""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        return _codes(column)
    cells = [cell for cell in column.astype(object) if not is_empty(cell)]
    if not cells or not all(isinstance(cell, str | int | float | date) for cell in cells):
        return [], ""
    rest = [cell for cell in cells if not isinstance(cell, str) or cell.strip() not in BESIDE_NUMBERS]
    if rest and len(rest) < len(cells):
        all_numbers = all((amount := amount_of(cell)) is not None and not amount.unit for cell in rest)
        writing = guessed_form(pd.Series(rest, dtype=object)) if not all_numbers else Writing("amount", "")
        if writing is not None and writing.form in ("date", "amount", "rating", "yes-no"):
            return _words(cells, BESIDE_NUMBERS, f"the others are {FORMS[writing.form].cells}")
    return _words(cells, EMPTY_WORDS, "which usually means empty")


def _words(cells: list[Any], words: tuple[str, ...], reason: str) -> tuple[list[Any], str]:
    counts = Counter(text for cell in cells if isinstance(cell, str) and (text := cell.strip()) in words)
    if not counts or counts.total() == len(cells):
        return [], ""
    subject = "1 cell is" if counts.total() == 1 else f"{counts.total()} cells are"
    return sorted(counts), f"{subject} {', '.join(sorted(counts))}, {reason}"


def _codes(column: pd.Series) -> tuple[list[Any], str]:
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = numbers[np.isfinite(numbers)]
    rest = numbers[~np.isin(numbers, CODES)]
    if len(rest) < 3:
        return [], ""
    low, high = rest.min(), rest.max()
    codes = [code for code in CODES if (numbers == code).sum() >= REPEATED_CODE and _is_code(code, low, high)]
    if not codes:
        return [], ""
    count = int(np.isin(numbers, codes).sum())
    return codes, f"{count} cells are {', '.join(map(str, codes))}, the others {low:g} to {high:g}"


def _is_code(code: int, low: float, high: float) -> bool:
    """Whether a repeated number is too far from all others to be a value like them."""
    if code < 0:
        return low >= 0 and (code <= -99 or high - low < -code)
    return code - high > 2 * (high - low) and high > low
