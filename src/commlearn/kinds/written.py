"""Cells as people write them: dates, amounts with units, yes and no, ratings, several labels, JSON objects.

A form turns one column of a table into several columns of numbers or categories. How the cells are written,
such as their units and whether the day comes before the month, is learned from training rows and saved with
the model, so that later tables are read in the same way.
"""

from __future__ import annotations

import math
import re
import warnings
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from commlearn.kinds.numbers import LARGEST
from commlearn.kinds.rows import brief, is_empty
from commlearn.storage.plain_json import parse_json

FEWEST = 3  # training cells that a unit, label or key needs to get a column
MOST = 64  # most units, labels or keys that get a column
HASHABLE = (str, int, float, date, np.number, np.bool_, type(None), type(pd.NA))
Cell = Any
Learned = dict[str, Any]


@dataclass
class Parts:
    """The content of one column of cells, split into columns of the same rows."""

    numbers: dict[str, np.ndarray] = field(default_factory=dict)  # float64, NaN if there is none
    categories: dict[str, pd.Series] = field(default_factory=dict)
    wrong: dict[int, str] = field(default_factory=dict)  # by row: what is wrong with its cell
    other: dict[int, str] = field(default_factory=dict)  # by row: valid content that was not learned


class Form(NamedTuple):
    """One way of writing cells."""

    learn: Callable[[pd.Series], Learned]
    parts: Callable[[pd.Series, Learned], Parts]
    cells: str  # what such cells are called in a message

    def read(self, values: pd.Series, learned: Learned) -> Parts:
        """Return the parts of the cells; infinite or too large numbers are reported as wrong."""
        parts = self.parts(values, learned)
        for numbers in parts.numbers.values():
            for row in np.flatnonzero(np.abs(numbers) > LARGEST).tolist():
                numbers[row] = math.nan
                cell = brief(values.iloc[row], str)
                parts.wrong[row] = f"{cell!r} is infinite or too large; correct it, or leave the cell empty"
        return parts


def _distinct(values: pd.Series) -> tuple[np.ndarray, list[Cell]]:
    """Return each row's index (-1: empty) into a list of cells, and that list: distinct if comparable."""
    plain = values.astype(object) if isinstance(values.dtype, pd.ArrowDtype) else values
    if plain.dtype != object or all(map(_comparable, plain)):
        indices, cells = pd.factorize(plain)
        cells = list(cells)
    else:
        cells, indices = plain.tolist(), np.arange(len(plain))
    empty = np.array([is_empty(cell) for cell in cells] + [True])
    return np.where(empty[indices], -1, indices), cells


def _comparable(cell: Cell) -> bool:
    """Whether a cell equals only cells that read alike: one moment in two time zones has two local times."""
    return isinstance(cell, HASHABLE) and getattr(cell, "tzinfo", None) is None


def _parse_distinct(values: pd.Series, parse: Callable[[Cell], Any]) -> tuple[np.ndarray, list[Any]]:
    """Return the indices of `_distinct`, and its cells as parsed by `parse` (None if that fails)."""
    indices, cells = _distinct(values)
    used = set(indices.tolist())
    return indices, [parse(cell) if index in used else None for index, cell in enumerate(cells)]


def _describe_wrong(
    values: pd.Series, indices: np.ndarray, results: list[Any], description: str
) -> dict[int, str]:
    failed = np.array([result is None for result in results] + [False])
    return {
        row: f"{brief(values.iloc[row], str)!r} is not {description}; correct it, or leave the cell empty"
        for row in np.flatnonzero(failed[indices]).tolist()
    }


def _numbers(indices: np.ndarray, results: Iterable[float | None]) -> np.ndarray:
    numbers = [math.nan if result is None else _float(result) for result in results]
    return np.array([*numbers, math.nan])[indices]  # an empty cell's index is -1, the last entry


def _float(number: Any) -> float:
    """Return a number of any type as a float, infinite if it is too large."""
    try:
        return float(number)
    except OverflowError:  # Python's whole numbers have no upper limit
        return math.inf if number > 0 else -math.inf


def _parse_numbers(
    values: pd.Series,
    parse: Callable[[Cell], Any],
    description: str,
    numbers: Mapping[str, Callable[[Any], float | None]],
    describe_other: Callable[[Any], str] = lambda result: "",
) -> Parts:
    """Parse each cell and return columns of numbers computed from the results.

    Args:
        values: the cells.
        parse: parses one cell; None if that fails.
        description: what a cell should be, for messages.
        numbers: for each new column, the function that computes its number from a parsed cell.
        describe_other: describes content of a parsed cell that is valid but was not learned; "" if none.
    """
    indices, results = _parse_distinct(values, parse)
    parts = Parts(wrong=_describe_wrong(values, indices, results, description))
    for name, number in numbers.items():
        column = [None if result is None else number(result) for result in results]
        parts.numbers[name] = _numbers(indices, column)
    unlearned = ["" if result is None else describe_other(result) for result in results] + [""]
    for row, index in enumerate(indices.tolist()):
        if unlearned[index]:
            parts.other[row] = f"{brief(values.iloc[row], str)!r} {unlearned[index]}"
    return parts


def _parse_filled(values: pd.Series, parse: Callable[[Cell], Any]) -> list[Any]:
    """Return the parsed cells of all rows, without those that are empty or cannot be parsed."""
    indices, results = _parse_distinct(values, parse)
    return [results[index] for index in indices[indices >= 0].tolist() if results[index] is not None]


MONTHS = {
    **{"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10},
    **{"nov": 11, "dec": 12, "mär": 3, "mai": 5, "okt": 10, "dez": 12},
}
CLOCK = (
    r"(?:[T ,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2}(?:\.\d+)?)?\s*(?P<half>[APap]\.?[Mm]\.?)?"
    r"\s*(?:Z|UTC|[+-]\d{2}:?\d{2})?)?"
)
YEAR_FIRST = re.compile(r"(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})" + CLOCK)
YEAR_LAST = re.compile(r"(?P<first>\d{1,2})([-/.])(?P<second>\d{1,2})\2\s?(?P<year>\d{4}|\d{2})" + CLOCK)
IN_WORDS = re.compile(
    r"(?:(?P<day>\d{1,2})(?:st|nd|rd|th)?\.?\s*(?P<month>[A-Za-zä]{3,9})|(?P<month2>[A-Za-zä]{3,9})\.?\s*(?P<day2>\d{1,2}))"
    r"(?:st|nd|rd|th)?[.,]?\s+(?P<year>\d{4})" + CLOCK
)


def moment_of(cell: Cell, order: str = "") -> datetime | None:
    """Return the date and time in a cell; None if it holds no date.

    Args:
        cell: a date, or text of one.
        order: "day first" or "month first", for text such as 3/4/2024; "" refuses ambiguous dates.

    Example:
        >>> moment_of("2024-03-04 12:30"), moment_of("4 Mar 2024")
        (datetime.datetime(2024, 3, 4, 12, 30), datetime.datetime(2024, 3, 4, 0, 0))
        >>> moment_of("3/4/2024"), moment_of("3/4/2024", "month first").month, moment_of("31.4.2024")
        (None, 3, None)
    """
    if isinstance(cell, datetime):  # pandas has dates outside of these years
        return cell.replace(tzinfo=None) if 1 <= cell.year <= 9999 else None
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)
    if isinstance(cell, np.datetime64):
        return moment_of(pd.Timestamp(cell))
    if not isinstance(cell, str):
        return None
    text = cell.strip()
    if match := YEAR_FIRST.fullmatch(text):
        day, month = int(match["day"]), int(match["month"])
    elif match := YEAR_LAST.fullmatch(text):
        first, second = int(match["first"]), int(match["second"])
        if not order and max(first, second) <= 12 and first != second and match[2] != ".":
            return None
        is_month_first = order == "month first" or (not order and first <= 12 < second)
        day, month = (second, first) if is_month_first else (first, second)
    elif match := IN_WORDS.fullmatch(text):
        month = MONTHS.get((match["month"] or match["month2"])[:3].lower(), 0)
        day = int(match["day"] or match["day2"])
    else:
        return None
    year = int(match["year"])
    year += (2000 if year < 70 else 1900) if year < 100 else 0
    hour = int(match["hour"] or 0)
    if match["half"]:
        hour = hour % 12 + (12 if match["half"][0] in "pP" else 0)
    try:
        return datetime(year, month, day, hour, int(match["minute"] or 0))
    except ValueError:
        return None


def _order(values: pd.Series) -> str:
    """Return whether days or months come first in dates such as 3/4/2024; "" if that is unclear."""
    firsts, seconds, dots = [0], [0], False
    for cell in _distinct(values)[1]:
        match = YEAR_LAST.fullmatch(cell.strip()) if isinstance(cell, str) else None
        if match:
            firsts.append(int(match["first"]))
            seconds.append(int(match["second"]))
            dots |= match[2] == "."
    if max(firsts) > 12 or max(seconds) > 12:
        return "month first" if max(seconds) > 12 >= max(firsts) else "day first"
    return "day first" if dots else ""


def _learn_dates(values: pd.Series, order: str = "") -> Learned:
    order = order or _order(values)
    moments = _parse_filled(values, lambda cell: moment_of(cell, order))
    newest = max((moment.toordinal() for moment in moments), default=0)
    parts = _date_parts(moments, newest)
    varied = [name for name, part in parts.items() if len(part) and np.ptp(part) > 0]
    return {"order": order, "newest": newest, "parts": varied}


def _date_parts(moments: list[datetime], newest: int) -> dict[str, np.ndarray]:
    """Return age in days, the year, and points on a circle for the month, the weekday and the hour."""
    parts = {
        "age": np.array([newest - moment.toordinal() for moment in moments], dtype=np.float64),
        "year": np.array([moment.year for moment in moments], dtype=np.float64),
    }
    circles = {
        "month": [(moment.month - 1) / 12 for moment in moments],
        "weekday": [moment.weekday() / 7 for moment in moments],
        "hour": [(moment.hour + moment.minute / 60) / 24 for moment in moments],
    }
    for name, turns in circles.items():
        angles = 2 * np.pi * np.array(turns, dtype=np.float64)
        parts |= {f"{name} sin": np.sin(angles), f"{name} cos": np.cos(angles)}
    return parts


def _read_dates(values: pd.Series, learned: Learned) -> Parts:
    indices, moments = _parse_distinct(values, lambda cell: moment_of(cell, learned["order"]))
    stand_in = datetime.fromordinal(max(learned["newest"], 1))
    parts = _date_parts([moment or stand_in for moment in moments], learned["newest"])
    missing = np.array([moment is None for moment in moments] + [True])[indices]
    numbers = {
        name: np.where(missing, np.nan, np.append(parts[name], np.nan)[indices]) for name in learned["parts"]
    }
    wrong = _describe_wrong(values, indices, moments, "a date that can be read (such as 2024-01-31)")
    for row in wrong:
        if not learned["order"] and moment_of(values.iloc[row], "day first"):
            cell = brief(values.iloc[row], str)
            wrong[row] = f"{cell!r} is ambiguous; set its form to date-dmy or date-mdy"
    return Parts(numbers, wrong=wrong)


CURRENCIES = {
    **{"€": "EUR", "eur": "EUR", "euro": "EUR", "euros": "EUR", "$": "USD", "us$": "USD", "usd": "USD"},
    **{"dollar": "USD", "dollars": "USD", "£": "GBP", "gbp": "GBP", "¥": "JPY", "jpy": "JPY", "chf": "CHF"},
    **{"sek": "SEK", "nok": "NOK", "dkk": "DKK", "zł": "PLN", "pln": "PLN", "cny": "CNY", "inr": "INR"},
    **{"₹": "INR", "cad": "CAD", "aud": "AUD", "brl": "BRL", "czk": "CZK", "huf": "HUF", "₽": "RUB"},
}
SAME = (  # units that are converted into one another
    {"mg": 1e-6, "g": 1e-3, "kg": 1.0, "t": 1e3, "lb": 0.45359237, "lbs": 0.45359237, "oz": 0.028349523125},
    {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3, "in": 0.0254, "inch": 0.0254, "ft": 0.3048},
    {"ml": 1e-3, "cl": 1e-2, "l": 1.0},
    {"ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0},
)
MONEY = {*CURRENCIES.values()}
FACTORS = {unit: (index, factor) for index, group in enumerate(SAME) for unit, factor in group.items()}
WITHOUT_UNIT = "without unit"
DIGITS = r"[+-]?\d(?:[\d.,'’\u00a0\u202f]*\d)?"
UNIT = r"[^\W\d_][^\s\d]{0,9}|[%€$£¥₹₽°′″][^\s\d]{0,4}"
AMOUNT = re.compile(
    rf"(?P<before>US\$|[A-Z]{{3}}|[€$£¥₹₽])?\s*(?P<number>{DIGITS})(?P<space>\s*)(?P<after>{UNIT})?"
)
GROUPED = re.compile(  # one sign, or groups of three digits; in India, groups of two before the last
    r"[+-]?(?:\d+(?:[.,]\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+(?:,\d+)?"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?)"
)
POWER = re.compile(r"(?P<number>[+-]?[0-9](?:[.,][0-9]+)?)(?P<exponent>[eE][+-]?[0-9]{1,3})")  # 1.5e-05
SPACERS = re.compile(r"['’\u00a0\u202f]")  # between thousands


class Amount(NamedTuple):
    """A number as it is written, with its unit."""

    written: str
    unit: str  # "" if there is none

    def number(self, comma: str) -> float:
        """Return the value; `comma` is the decimal sign of an ambiguous number such as 1,299 ("": none)."""
        digits = SPACERS.sub("", self.written)
        sign = _fraction_sign(digits) or comma
        thousands = "[.,]" if not sign else "[,]" if sign == "." else "[.]"
        try:
            return float(re.sub(thousands, "", digits).replace(sign or ".", "."))
        except ValueError:
            return math.nan


def _fraction_sign(digits: str) -> str:
    """Return the decimal sign of a number; "" if it is ambiguous."""
    last = max(digits.rfind("."), digits.rfind(","))
    if last < 0:
        return "."
    sign, other = digits[last], "," if digits[last] == "." else "."
    if digits.count(sign) > 1:
        return other
    if other in digits or len(digits) - last != 4 or digits.lstrip("+-").startswith("0"):
        return sign
    return ""


def amount_of(cell: Cell) -> Amount | None:
    """Return the number and the unit in a cell; None if it holds something else.

    Example:
        >>> amount_of("€ 1.299,00"), amount_of("3kg"), amount_of("3 of 4")
        (Amount(written='1.299,00', unit='EUR'), Amount(written='3', unit='kg'), None)
    """
    if isinstance(cell, int | float | np.number | Decimal) and not isinstance(cell, bool):
        written = repr(_float(cell))  # padded next: more than three decimals are unambiguous
        return Amount(f"{written}000" if "." in written and "e" not in written else written, "")
    if isinstance(cell, str) and (power := POWER.fullmatch(cell.strip())):
        zeros = "" if power["number"].lstrip("+-").isdigit() else "000"  # unambiguous, as above
        return Amount(f"{power['number']}{zeros}{power['exponent']}", "")
    match = AMOUNT.fullmatch(cell.strip()) if isinstance(cell, str) else None
    if match is None or (match["before"] and match["before"].lower() not in CURRENCIES):
        return None
    if not GROUPED.fullmatch(SPACERS.sub("", match["number"])):  # such as 192.168.0.1, 2.10.3, or 1,2,3
        return None
    unit = match["after"] or match["before"] or ""
    lowered = unit.lower()
    unit = CURRENCIES.get(lowered) or (lowered if lowered in FACTORS else unit)
    return Amount(match["number"], unit)


def _signs(amounts: list[Amount]) -> dict[str, str]:
    """Return the decimal sign of each unit; "" if it has no fractions, and no entry if that is unclear."""
    counts: dict[str, Counter[str]] = {}
    for amount in amounts:
        sign = _fraction_sign(amount.written)
        if sign and {".", ","} & {*amount.written}:
            counts.setdefault(amount.unit, Counter())[sign] += 1
    all_signs = {sign for sign_counts in counts.values() for sign in sign_counts}
    units = {amount.unit for amount in amounts}
    signs = dict.fromkeys(units, next(iter(all_signs))) if len(all_signs) == 1 else {}
    signs |= dict.fromkeys(units & MONEY, "")  # no price has three decimals
    return signs | {unit: sign_counts.most_common(1)[0][0] for unit, sign_counts in counts.items()}


def _learn_amounts(values: pd.Series, fewest: int = FEWEST) -> Learned:
    amounts: list[Amount] = _parse_filled(values, amount_of)
    counts, signs = Counter(amount.unit for amount in amounts), _signs(amounts)
    units: dict[str, list[Any]] = {}
    target_of: dict[int, str] = {}  # the most frequent unit of each group of units
    for unit, count in counts.most_common():
        if count < min(fewest, counts.most_common(1)[0][1]) or len(units) == MOST:
            continue
        group, factor = FACTORS.get(unit, (None, 1.0))
        target = unit if group is None else target_of.setdefault(group, unit)
        units[unit] = [target, factor / FACTORS.get(target, (None, 1.0))[1], signs.get(unit, ".")]
    return {"units": units}


def one_amount(values: pd.Series) -> tuple[np.ndarray, dict[int, str]]:
    """Return the cells as numbers of one unit, NaN if there is none; and what is wrong, by row.

    Example:
        >>> one_amount(pd.Series(["1.299,00 €", "950 €", None, "12 kg"]))
        (array([1299.,  950.,   nan,   nan]), {3: "'12 kg': most cells are in EUR; give all in one unit"})
    """
    parts = _read_amounts(values, _learn_amounts(values, fewest=1))
    counts = {unit: int(np.isfinite(numbers).sum()) for unit, numbers in parts.numbers.items()}
    unit = max(counts, key=lambda name: counts[name], default="")
    numbers = parts.numbers.get(unit, np.full(len(values), np.nan))
    wrong, signs = dict(parts.wrong), _signs(_parse_filled(values, amount_of))
    for row, cell in enumerate(values):
        amount = None if is_empty(cell) else amount_of(cell)
        if amount is None:
            continue
        if np.isnan(numbers[row]):
            description = unit if unit == WITHOUT_UNIT else f"in {unit}"
            wrong[row] = f"{brief(cell, str)!r}: most cells are {description}; give all in one unit"
        elif amount.unit not in signs and not _fraction_sign(amount.written):
            readings = " or ".join(f"{amount.number(sign):g}" for sign in ",.")
            wrong[row] = f"{brief(cell, str)!r} may mean {readings}; write it without a thousands separator"
    return numbers, wrong


def _read_amounts(values: pd.Series, learned: Learned) -> Parts:
    """Return one column of numbers for each unit; units that cannot be converted are never mixed."""
    units = learned["units"]

    def number_in(wanted: str, amount: Amount) -> float | None:
        target, factor, sign = units.get(amount.unit, (None, 1.0, ""))
        return amount.number(sign) * factor if target == wanted else None

    return _parse_numbers(
        values,
        amount_of,
        "a number, with or without a unit",
        {target or WITHOUT_UNIT: partial(number_in, target) for target, _, _ in units.values()},
        lambda amount: "" if amount.unit in units else "has a unit",
    )


YES = ("yes", "y", "true", "t", "on", "1", "ja", "j", "wahr", "oui", "sí", "si", "да", "✓", "✔", "✅")
NO = ("no", "n", "false", "f", "off", "0", "nein", "falsch", "non", "нет", "✗", "✘", "❌")
WORDS = dict.fromkeys(YES, 1.0) | dict.fromkeys(NO, 0.0)


def _yes_or_no(cell: Cell) -> float | None:
    if isinstance(cell, float | np.floating) and cell.is_integer():
        cell = int(cell)
    word = brief(cell, str).strip().lower().replace("\ufe0f", "")
    return WORDS.get(word[0] if word in ("1.0", "0.0", "1,0", "0,0") else word)  # as text files write 1 and 0


def _read_answers(values: pd.Series, learned: Learned) -> Parts:
    return _parse_numbers(values, _yes_or_no, "yes or no", {"": float})


SHARE = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:/|out of|of|von|sur|de)\s*(\d+)")


def share_of(cell: Cell) -> tuple[float, int] | None:
    """Return the points and the maximum of a rating such as `4/5` or `4.5 of 5`; None for anything else.

    Example:
        >>> share_of("4,5 / 5"), share_of("7/5"), share_of("four")
        ((4.5, 5), None, None)
    """
    match = SHARE.fullmatch(cell.strip().lower()) if isinstance(cell, str) else None
    if match is None or not 0 < float(match[2]) <= LARGEST:
        return None
    points, maximum = float(match[1].replace(",", ".")), int(match[2])
    return (points, maximum) if points <= maximum else None


def _read_ratings(values: pd.Series, learned: Learned) -> Parts:
    return _parse_numbers(values, share_of, "a rating such as 4/5", {"": lambda share: share[0] / share[1]})


SIGN = r"\s*(?:/|[xX×]|;|,\s|,(?=\d+\.))\s*"
PLAIN_NUMBER = r"[+-]?\d+(?:\.\d+)?"
SEVERAL_NUMBERS = re.compile(rf"\(?({PLAIN_NUMBER}(?:{SIGN}{PLAIN_NUMBER}){{1,3}})\)?")


def numbers_in(cell: Cell) -> tuple[float, ...] | None:
    """Return two to four numbers that have signs between them; None for anything else.

    Example:
        >>> numbers_in("139/85"), numbers_in("40 x 80 x 2.5"), numbers_in("48.1,11.5"), numbers_in("1,299")
        ((139.0, 85.0), (40.0, 80.0, 2.5), (48.1, 11.5), None)
    """
    match = SEVERAL_NUMBERS.fullmatch(cell.strip()) if isinstance(cell, str) else None
    return None if match is None else tuple(float(part) for part in re.split(SIGN, match[1]))


def _learn_several(values: pd.Series) -> Learned:
    counts = Counter(len(numbers) for numbers in _parse_filled(values, numbers_in))
    return {"count": counts.most_common(1)[0][0] if counts else 2}


def _read_several(values: pd.Series, learned: Learned) -> Parts:
    count = learned["count"]

    def parse(cell: Cell) -> tuple[float, ...] | None:
        numbers = numbers_in(cell)
        return numbers if numbers is not None and len(numbers) == count else None

    description = f"a row of {count} numbers such as {'/'.join(['12'] * count)}"
    return _parse_numbers(
        values, parse, description, {str(index + 1): itemgetter(index) for index in range(count)}
    )


QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
LISTED = re.compile(rf"(?:np\.str_\()?({QUOTED})\)?|\bNone\b|\bnan\b")  # a word in Python's form, or nothing


def list_of(text: str) -> list[Any]:
    """Return the list in a text: in JSON, or words as pandas writes lists and arrays of them to CSV.

    Raises:
        ValueError: the text is neither.

    Example:
        >>> list_of('["red", 1]'), list_of("['red', 'sea blue', None]"), list_of("['red' 'blue']")
        (['red', 1], ['red', 'sea blue'], ['red', 'blue'])
    """
    try:
        return parse_json(text)
    except ValueError:
        inner = text.strip()[1:-1]
        if LISTED.sub("", inner).strip(", \n") or not text.rstrip().endswith("]"):
            raise
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash before another letter, as in a path
            return [literal_eval(word) for word in LISTED.findall(inner) if word]


def labels_of(cell: Cell, separator: str) -> tuple[str, ...] | None:
    """Return the labels that a cell lists; None if it is not a list.

    Example:
        >>> labels_of("red; blue", ";"), labels_of('["red"]', ";"), labels_of(["red", None], "")
        (('red', 'blue'), ('red',), ('red',))
    """
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        with suppress(ValueError, SyntaxError):  # text that starts like a list but is none
            cell = list_of(cell)
    if isinstance(cell, str):
        parts: list[Any] = cell.split(separator) if separator else [cell]
    elif isinstance(cell, list | tuple | set | frozenset | np.ndarray):
        parts = list(cell)
    else:
        return None
    if any(isinstance(part, list | tuple | dict | np.ndarray) for part in parts):
        return None
    return tuple(dict.fromkeys(str(part).strip() for part in parts if not is_empty(part)))


def separator_of(values: pd.Series) -> str:
    """Return the sign between labels in cells of text: the first of ; | and , that occurs, "" if none."""
    texts = [
        cell for cell in _distinct(values)[1] if isinstance(cell, str) and not cell.lstrip().startswith("[")
    ]
    return next((sign for sign in (";", "|", ",") if any(sign in text for text in texts)), "")


def _learn_labels(values: pd.Series) -> Learned:
    separator = separator_of(values)
    counts = Counter(
        name for labels in _parse_filled(values, lambda cell: labels_of(cell, separator)) for name in labels
    )
    ranked = sorted((-count, name) for name, count in counts.items() if count >= min(FEWEST, len(values)))
    return {"separator": separator, "names": sorted(name for _, name in ranked[:MOST])}


def _read_labels(values: pd.Series, learned: Learned) -> Parts:
    names = learned["names"]
    return _parse_numbers(
        values,
        lambda cell: labels_of(cell, learned["separator"]),
        "a list of labels",
        {name: partial(lambda name, labels: name in labels, name) for name in names},
        lambda labels: "has labels" if labels and set(names).isdisjoint(labels) else "",
    )


def object_of(cell: Cell) -> dict[str, Any] | None:
    """Return the plain values of a JSON object by their dotted names; None if it is not an object.

    Example:
        >>> object_of('{"size": {"w": 40, "h": 80}, "oak": true, "cuts": [1, 2]}')
        {'size.w': 40, 'size.h': 80, 'oak': True}
    """
    if isinstance(cell, str):
        try:
            cell = parse_json(cell)
        except ValueError:
            return None
    if not isinstance(cell, Mapping):
        return None
    plain: dict[str, Any] = {}
    for key, value in cell.items():
        if isinstance(value, Mapping):
            plain |= {f"{key}.{name}": inner for name, inner in (object_of(value) or {}).items()}
        elif isinstance(value, str | int | float | np.number | np.bool_) and not is_empty(value):
            plain[str(key)] = value
    return plain


def _learn_objects(values: pd.Series) -> Learned:
    objects: list[dict[str, Any]] = _parse_filled(values, object_of)
    counts = Counter(key for entry in objects for key in entry)
    ranked = sorted((-count, key) for key, count in counts.items() if count >= min(FEWEST, len(values)))
    keys = sorted(key for _, key in ranked[:MOST])
    numeric = {key: all(not isinstance(entry.get(key), str) for entry in objects) for key in keys}
    return {
        "numbers": [key for key in keys if numeric[key]],
        "categories": [key for key in keys if not numeric[key]],
    }


def _read_objects(values: pd.Series, learned: Learned) -> Parts:
    indices, objects = _parse_distinct(values, object_of)
    parts = Parts(wrong=_describe_wrong(values, indices, objects, 'a JSON object such as {"width": 40}'))
    for key in learned["numbers"]:
        cells = [None if entry is None else entry.get(key) for entry in objects]
        parts.numbers[key] = _numbers(indices, [None if isinstance(cell, str) else cell for cell in cells])
        is_text = np.array([isinstance(cell, str) for cell in cells] + [False])
        for row in np.flatnonzero(is_text[indices]).tolist():
            parts.wrong[row] = f"{key} is {brief(cells[indices[row]])}, but was a number in training rows"
    for key in learned["categories"]:
        cells = [None if entry is None else entry.get(key) for entry in objects]
        parts.categories[key] = pd.Series(np.array([*cells, None], dtype=object)[indices], dtype=object)
    return parts


FORMS: dict[str, Form] = {
    "date": Form(_learn_dates, _read_dates, "dates"),
    "date-dmy": Form(partial(_learn_dates, order="day first"), _read_dates, "dates, the day first"),
    "date-mdy": Form(partial(_learn_dates, order="month first"), _read_dates, "dates, the month first"),
    "amount": Form(_learn_amounts, _read_amounts, "numbers with or without a unit"),
    "yes-no": Form(lambda values: {}, _read_answers, "yes and no"),
    "rating": Form(lambda values: {}, _read_ratings, "ratings"),
    "numbers": Form(_learn_several, _read_several, "several numbers"),
    "labels": Form(_learn_labels, _read_labels, "lists of labels"),
    "json": Form(_learn_objects, _read_objects, "JSON objects"),
}
