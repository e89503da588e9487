"""Numbers as people and programs write them, such as 1,234.5, 1.234,5 or NA, judged by the whole column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from commlearn.kinds.numbers import MISSING_NUMBERS

FORMS = {
    "comma": r" *[+-]?(?:[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[0-9]+)(?:,[0-9]+)?(?:[eE][+-]?[0-9]+)? *",  # 1.234,5
    "point": r" *[+-]?(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)? *",  # 1,234.5
}
"""Patterns of numbers, by the sign before the fraction."""
PLAIN = r"(?i:\s*[+-]?(?:[0-9]+\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?|inf|infinity)\s*)"
CODE = r"0[0-9]+"  # a code and not a number, such as 007
GROUPS = r" *[+-]?(?:[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[0-9]{1,3}) *"  # 950 or 1.234: a fraction, or thousands
GLANCE = 100  # cells to look at first


def may_be_numbers(column: pd.Series) -> bool:
    """Whether the first cells of a text column, or of a part of it, are numbers in one of the forms."""
    if column.dtype.kind in "biuf":
        return True
    cells = column.dropna()[:GLANCE].astype(str)
    cells = cells[~cells.isin(("", *MISSING_NUMBERS))]  # "" occurs among numbers beyond 64 bits
    return any(bool(cells.str.fullmatch(form).all()) for form in (PLAIN, *FORMS.values()))


def judged(
    parts: Iterable[pd.DataFrame], texts: set[str], separator: str
) -> tuple[dict[str, str], dict[str, Counter[str]]]:
    """Return the form of each column of numbers in a single form, and its words for a missing number.

    A column with a cell such as `007` holds codes, and its form is "text". If some cells are not numbers, the
    column holds words, and "NA" is a word like any other.

    In a comma-separated file, `1,3` may also be a list, so commas can only separate thousands. In any other,
    `1,234` is ambiguous: semicolons suggest that commas begin the fraction.

    Args:
        parts: parts of the table, with every cell as text.
        texts: columns that pandas reads as text; the others are numbers, unless points separate thousands.
        separator: separator of the file's cells.

    Example:
        >>> judged([pd.DataFrame({"a": ["1,5", "2"], "b": ["950", "1.250"]})], {"a"}, ";")
        ({'a': 'comma', 'b': 'comma'}, {})
        >>> judged([pd.DataFrame({"a": ["1.5", "NA"], "b": ["x", "NA"]})], {"a", "b"}, ",")
        ({'a': 'plain'}, {'a': Counter({'NA': 1})})
    """
    candidates: dict[str, set[str]] = {}
    words: dict[str, Counter[str]] = {}
    filled: set[str] = set()  # columns that hold any other cell
    codes: set[str] = set()
    marked: set[str] = set()  # columns whose commas or points may have another meaning than in plain numbers
    for part in parts:
        for name, column in part.items():
            cells = column.dropna()
            missing = cells.isin(MISSING_NUMBERS)
            words.setdefault(str(name), Counter()).update(cells[missing].tolist())
            cells = cells[~missing]
            if len(cells):
                filled.add(str(name))
            if bool(cells.str.fullmatch(CODE).any()):
                codes.add(str(name))
            forms = {**FORMS, "plain": PLAIN} if name in texts else {**FORMS, "groups": GROUPS}
            matching = {form for form, pattern in forms.items() if bool(cells.str.fullmatch(pattern).all())}
            candidates[str(name)] = candidates.get(str(name), matching) & matching
            mark = r",|\..*\." if name in texts else r"\."
            if bool(cells.str.contains(mark).any()):
                marked.add(str(name))
    numbers = {name for name in texts & filled - codes if "plain" in candidates[name]}
    forms = {
        name: _form(candidates[name] - {"plain"}, separator) for name in texts & marked - numbers - codes
    }
    forms = {name: form for name, form in forms.items() if form}
    if "comma" in forms.values():  # then a point never begins a fraction
        forms |= {name: "comma" for name in marked - texts if "groups" in candidates[name]}
    forms |= dict.fromkeys(numbers, "plain") | dict.fromkeys(codes, "text")
    return forms, {
        name: words[name] for name in candidates if words[name] and forms.get(name, "text") != "text"
    }


def as_written(column: pd.Series, form: str) -> pd.Series:
    """Convert a text column in this form to float64; codes stay text.

    Example:
        >>> as_written(pd.Series(["1.234,5", None]), "comma").tolist()
        [1234.5, nan]
    """
    if form == "text":
        return column
    column = column.mask(column.isin(MISSING_NUMBERS), None)
    if form == "plain":
        return pd.to_numeric(column).astype("float64")
    thousands, fraction = (".", ",") if form == "comma" else (",", ".")
    texts = column.str.replace(thousands, "", regex=False).str.replace(fraction, ".", regex=False)
    return pd.to_numeric(texts).astype("float64")


def _form(candidates: set[str], separator: str) -> str:
    """Return the form of a column's cells; "" if none fits, or if it remains ambiguous."""
    if separator == ",":
        return "point" if "point" in candidates else ""
    if separator == ";" and "comma" in candidates:
        return "comma"
    return next(iter(candidates)) if len(candidates) == 1 else ""
