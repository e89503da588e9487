"""Numbers as people write them in text: 1,234.5 or 1.234,5. All cells of a column decide which."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

__all__ = ["as_written", "judged", "may_be_numbers"]

FORMS = {
    "comma": r" *[+-]?(?:[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[0-9]+)(?:,[0-9]+)?(?:[eE][+-]?[0-9]+)? *",  # 1.234,5
    "point": r" *[+-]?(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)? *",  # 1,234.5
}
"""By the sign before the fraction."""
GROUPS = r" *[+-]?(?:[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[0-9]{1,3}) *"  # 950, 1.234: fractions, or thousands
GLANCE = 100  # cells


def may_be_numbers(column: pd.Series) -> bool:
    """Whether the first cells of a column of text, or of a part of one, are numbers in one of the forms."""
    if column.dtype.kind in "biuf":
        return True
    cells = column.dropna()[:GLANCE].astype(str)
    return any(bool(cells.str.fullmatch(form).all()) for form in FORMS.values())


def judged(parts: Iterable[pd.DataFrame], texts: set[str], separator: str) -> dict[str, str]:
    """The form of each column whose cells are all numbers in one.

    In a file that commas separate, `1,3` may as well be a list: there, commas part thousands alone. In any
    other, `1,234` could be either: semicolons are written where a comma begins the fraction.

    Args:
        parts: of the table, every cell as text.
        texts: columns that are no numbers as they are; the others are, but for points between thousands.
        separator: of the file's cells.

    Example:
        >>> judged([pd.DataFrame({"a": ["1,5", "2"], "b": ["950", "1.250"]})], {"a"}, ";")
        {'a': 'comma', 'b': 'comma'}
    """
    fits: dict[str, set[str]] = {}
    marked: set[str] = set()  # columns with a sign that no plain number has
    for part in parts:
        for name, column in part.items():
            cells = column.dropna()
            forms = {**FORMS, "groups": GROUPS} if name not in texts else FORMS
            fitting = {form for form, pattern in forms.items() if bool(cells.str.fullmatch(pattern).all())}
            fits[str(name)] = fits.get(str(name), fitting) & fitting
            mark = r",|\..*\." if name in texts else r"\."
            if bool(cells.str.contains(mark).any()):
                marked.add(str(name))
    found = {name: _form(fits[name], separator) for name in fits if name in texts & marked}
    found = {name: form for name, form in found.items() if form}
    if "comma" in found.values():  # then a point is never the begin of a fraction
        found |= {name: "comma" for name in marked - texts if "groups" in fits[name]}
    return found


def as_written(column: pd.Series, form: str) -> pd.Series:
    """The numbers of a column of text, as float64.

    Example:
        >>> as_written(pd.Series(["1.234,5", None]), "comma").tolist()
        [1234.5, nan]
    """
    thousands, fraction = (".", ",") if form == "comma" else (",", ".")
    plain = column.str.replace(thousands, "", regex=False).str.replace(fraction, ".", regex=False)
    return pd.to_numeric(plain).astype("float64")


def _form(fits: set[str], separator: str) -> str:
    """The one form that the cells have; "" where they have none, or could have either."""
    if separator == ",":
        return "point" if "point" in fits else ""
    if separator == ";" and "comma" in fits:
        return "comma"
    return next(iter(fits)) if len(fits) == 1 else ""
