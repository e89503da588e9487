"""CSV as spreadsheets and pandas write it: separator from the header, types from all rows.

Numbers as people and programs write them, such as 1,234.5, 1.234,5 or NA, are judged by the whole column.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from commlearn.errors import DataError, DataWarning
from commlearn.kinds.numbers import MISSING_NUMBERS
from commlearn.kinds.rows import LISTED, first_names
from commlearn.tables.formats.reading import Frames, Reading, chosen_columns, one_name_each, open_text

WHOLE = 1 << 62  # rows: more than any file has
BEYOND = "cells beyond the header"  # column added to hold them, as pandas may otherwise drop them
SEPARATORS = (",", ";", "\t", "|")
HINT = re.compile(r'"?sep=([,;|\t])"?\s*')  # a first line that tells Excel the separator
QUOTED = re.compile(r'"[^"]*"')
COUNT = "0|-?[1-9][0-9]{0,17}"  # a plain whole number: reading it as an integer loses nothing
LONGEST = 64  # characters of a code, at most
HEADER_LINES = 100  # lines of a header whose quoted names span several lines, at most


@dataclass(frozen=True)
class _Header:
    separator: str
    names: list[str]
    before: int  # lines before the header to skip
    lines: int  # lines of the file up to the end of the header
    encoding: str


def read_csv(path: Path, rows: int, columns: Sequence[str] | None, reading: Reading) -> Frames:
    """Yield the file in chunks of at most `rows` rows; 0 yields the whole file as one chunk."""
    try:
        header = _header(path, reading.encoding)
        if header is None:
            return
        one_name_each(header.names, str(path))
        chosen = None if columns is None else chosen_columns(header.names, columns, str(path))
        empty = ["", *reading.missing]
        own = {name: [*empty, *map(str, reading.missing_in.get(name, ()))] for name in header.names}
        options = {"sep": header.separator, "skiprows": header.before, "chunksize": rows or WHOLE}
        options |= {"low_memory": False, "index_col": False, "keep_default_na": False}
        options |= {"na_values": own if reading.missing_in else empty}
        # commas that do not separate cells may be part of numbers: all columns together show how
        scan_columns = header.names if chosen is None or header.separator != "," else chosen
        names = [name for name in scan_columns if name in reading.names]
        types: dict[str, str] = {}
        numbers = set(header.names) - set(names)  # columns that hold only numbers so far, in any form
        whole_numbers = set(names) - reading.texts  # columns of names that are plain whole numbers so far
        negative: set[str] = set()  # columns with negative numbers, which unsigned types cannot hold
        codes = _Codes(header.separator)
        name_options = {**options, "dtype": dict.fromkeys(names, "str")}
        last, last_is_full = _last_named(header), True  # a row with fewer cells has none in the last column
        for full_chunk in _chunks(path, header, name_options, codes):
            if last_is_full and full_chunk.iloc[:, last].isna().any():
                last_is_full = False
                _warn_of_short_rows(path, header, last + 1)
            chunk = full_chunk[scan_columns]
            for name, dtype in chunk.dtypes.items():
                types[str(name)] = _common_type(types.get(str(name)), dtype.name)
            negative |= {name for name in chunk if chunk[name].dtype == "int64" and (chunk[name] < 0).any()}
            numbers = {name for name in numbers & types.keys() if may_be_numbers(chunk[name])}
            filled = [name for name in whole_numbers if chunk[name].notna().all()]
            whole_numbers = {name for name in filled if chunk[name].str.fullmatch(COUNT).all()}
            texts = {name for name in numbers if types[name] == "str"}
            part = chunk if chosen is None else chunk[chosen]
            same_types = all(dtype == types[str(name)] for name, dtype in part.dtypes.items())
            if not rows and not texts and not codes.seen and same_types:
                yield part.astype(dict.fromkeys(whole_numbers & set(part), "int64"))
                return
        types |= dict.fromkeys({name for name in negative if types[name] == "uint64"}, "float64")
        types |= dict.fromkeys(whole_numbers, "int64")
        texts = {name for name in numbers if types[name] == "str"}
        numeric = {name for name, dtype in types.items() if dtype in ("float64", "int64", "uint64")}
        forms: dict[str, str] = {}
        uncertain = [name for name in header.names if name in texts | (numeric - set(names))]
        if uncertain and (texts or codes.seen):
            text_options = {**options, "usecols": uncertain, "dtype": dict.fromkeys(uncertain, "str")}
            forms, words = judged(_chunks(path, header, text_options), texts, header.separator)
            _warn_of_emptied(path, words, chosen)
        types |= dict.fromkeys(forms, "str")
        for chunk in _chunks(path, header, {**options, "usecols": chosen, "dtype": types}):
            converted = {name: as_written(chunk[name], form) for name, form in forms.items() if name in chunk}
            yield chunk.assign(**converted)
    except UnicodeError:
        raise
    except (csv.Error, pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as problem:
        problem_text = f"{path} cannot be read as a table: {str(problem).strip()}"
        raise DataError(f"{problem_text}. Does a cell contain the separator without quotes?") from problem


def _header(path: Path, encoding: str) -> _Header | None:
    """Parse the first line that is not blank as the header; None if there is no such line."""
    with open_text(path, encoding) as file:
        first_line = file.readline()
        hint = HINT.fullmatch(first_line)
        text, lines = "" if hint else first_line, 1
        for line in islice(file, HEADER_LINES):
            if text.strip() and text.count('"') % 2 == 0:
                break
            text, lines = text + line if text.strip() else line, lines + 1
    if text.count('"') % 2:  # an unpaired quote does not quote anything
        lines -= len(text.splitlines()) - 1
        text = text.splitlines()[0]
    if not text.strip():
        return None
    unquoted = QUOTED.sub("", text)
    separator = "\t" if ".tsv" in map(str.lower, path.suffixes) else max(SEPARATORS, key=unquoted.count)
    separator = hint[1] if hint else separator
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    labels = [name or f"Unnamed: {index}" for index, name in enumerate(names)]  # as pandas names them
    return _Header(separator, labels, 1 if hint else 0, lines, encoding)


def _chunks(path: Path, header: _Header, options: Mapping[str, Any], codes: _Codes | None = None) -> Frames:
    """Yield the rows; if all columns are read, refuse a row with more cells than the header, as shifted."""
    extra_options = {} if options.get("usecols") else {"converters": {BEYOND: bool}}
    first_row = 0
    with (
        open_text(path, header.encoding) as file,
        pd.read_csv(_Extended(file, header, codes), **options, **extra_options) as reader,
    ):
        while True:
            with warnings.catch_warnings():  # pandas only warns when it drops cells at the start of a chunk
                warnings.simplefilter("error", pd.errors.ParserWarning)
                chunk = next(reader, None)
            if chunk is None:
                return
            if extra_options:
                if BEYOND not in chunk:
                    raise ValueError(f"its header is read as {', '.join(chunk.columns)}")
                extra_cells = chunk.pop(BEYOND)
                if extra_cells.any():
                    row = first_row + int(extra_cells.argmax())
                    raise ValueError(f"row {row} has more cells than the header")
            first_row += len(chunk)
            yield chunk


class _Extended(io.TextIOBase):
    """A text file with one more column in its header."""

    def __init__(self, file: io.TextIOWrapper, header: _Header, codes: _Codes | None) -> None:
        self.file, self.codes = file, codes
        self.head = "".join(islice(file, header.lines)).rstrip("\r\n") + f"{header.separator}{BEYOND}\n"

    def read(self, size: int | None = -1) -> str:
        head, self.head = self.head, ""
        text = head or self.file.read(size)
        if self.codes is not None:
            self.codes.look_at(text)
        return text


class _Codes:
    """Whether any cell of a text may be a code such as `007`, which is not the number 7."""

    def __init__(self, separator: str) -> None:
        ends = re.escape(separator) + r'"\r\n'
        # one pattern for each character before the cell: a search for a fixed prefix is faster
        prefixes = [re.escape(prefix) for prefix in (separator, '"', "\r", "\n")]
        self.patterns = [re.compile(f"{prefix}{CODE}(?=[{ends}])") for prefix in prefixes]
        self.seen, self.end = False, ""

    def look_at(self, text: str) -> None:
        if not self.seen:
            text = self.end + (text or "\n")  # the last cell ends with the file
            self.seen = any(pattern.search(text) for pattern in self.patterns)
            self.end = text[-LONGEST:]


def _last_named(header: _Header) -> int:
    """Return the position of the last column with a name; separators at the end of a header name none."""
    return max((index for index, name in enumerate(header.names) if name != f"Unnamed: {index}"), default=0)


def _warn_of_short_rows(path: Path, header: _Header, cells: int) -> None:
    """Warn of rows with fewer cells than the header, such as a last line that was cut off."""
    short, row = [], 0
    with open_text(path, header.encoding) as file, suppress(csv.Error):  # a cell that is too long for it
        lines = islice(file, header.lines, None)
        for parts in csv.reader(lines, delimiter=header.separator):
            if not parts or (len(parts) == 1 and parts[0].isspace()):
                continue  # pandas skips blank lines
            if len(parts) < cells:
                short.append(str(row))
            row += 1
    if short:
        rows = f"row {short[0]} has" if len(short) == 1 else f"rows {first_names(short)} have"
        message = f"{path}: {rows} fewer cells than the header; the missing ones are read as empty"
        warnings.warn(DataWarning(f"{message}. Is the file cut off?"), stacklevel=3)


def _warn_of_emptied(path: Path, words: Mapping[str, Counter[str]], chosen: Sequence[str] | None) -> None:
    emptied = [
        f"column {name}, {counts.total()} cells ({', '.join(counts)})"
        for name, counts in words.items()
        if chosen is None or name in chosen
    ]
    if emptied:
        examples = first_names(emptied, "; ") + (" columns" if len(emptied) > LISTED else "")
        message = f"{path}: words among numbers are read as empty cells: {examples}"
        warnings.warn(DataWarning(message), stacklevel=2)


def _common_type(previous: str | None, current: str) -> str:
    """Return the type that holds both; non-numbers, and truth values mixed with others, become text."""
    numeric = {"int64", "uint64", "float64", "bool"}
    if previous is None or previous == current:
        return current if current in numeric else "str"
    if {previous, current} == {"int64", "uint64"}:
        return "uint64"
    return "float64" if {previous, current} <= {"int64", "uint64", "float64"} else "str"


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
        for name in map(str, part):
            cells = part[name].dropna()
            missing = cells.isin(MISSING_NUMBERS)
            words.setdefault(name, Counter()).update(cells[missing].tolist())
            cells = cells[~missing]
            if len(cells):
                filled.add(name)
            if cells.str.fullmatch(CODE).any():
                codes.add(name)
            forms = {**FORMS, "plain": PLAIN} if name in texts else {**FORMS, "groups": GROUPS}
            matching = {form for form, pattern in forms.items() if cells.str.fullmatch(pattern).all()}
            candidates[name] = candidates.get(name, matching) & matching
            if cells.str.contains(r",|\..*\." if name in texts else r"\.").any():
                marked.add(name)
    numbers = {name for name in texts & filled - codes if "plain" in candidates[name]}
    possible = texts & marked - numbers - codes
    forms = {name: form for name in possible if (form := _form(candidates[name] - {"plain"}, separator))}
    if "comma" in forms.values():  # then a point never begins a fraction
        forms |= {name: "comma" for name in marked - texts if "groups" in candidates[name]}
    forms |= dict.fromkeys(numbers, "plain") | dict.fromkeys(codes, "text")
    emptied = (name for name in candidates if words[name] and forms.get(name, "text") != "text")
    return forms, {name: words[name] for name in emptied}


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
