"""CSV as spreadsheets and pandas write it: separator from the header, types from all rows."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from commlearn.errors import DataError, DataWarning
from commlearn.tables.formats.parquet_files import chosen_columns, one_name_each
from commlearn.tables.formats.reading import PLAIN, Reading
from commlearn.tables.formats.text_files import open_text, read_decoded
from commlearn.tables.formats.written_numbers import CODE, as_written, judged, may_be_numbers

WHOLE = 1 << 62  # rows: more than any file has
BEYOND = "cells beyond the header"  # column added to hold them, as pandas may otherwise drop them
SEPARATORS = (",", ";", "\t", "|")
HINT = re.compile(r'"?sep=([,;|\t])"?\s*')  # a first line that tells Excel the separator
QUOTED = re.compile(r'"[^"]*"')
COUNT = "0|-?[1-9][0-9]{0,17}"
LONGEST = 64  # characters of a code, at most
SHOWN = 10  # columns listed in a message, at most
HEADER_LINES = 100  # lines of a header whose quoted names span several lines, at most


@dataclass(frozen=True)
class _Header:
    separator: str
    names: list[str]
    before: int  # lines before the header to skip
    lines: int  # lines of the file up to the end of the header
    encoding: str


def read_csv(
    path: Path, rows: int, columns: Sequence[str] | None, reading: Reading = PLAIN
) -> Iterator[pd.DataFrame]:
    """Yield the file in chunks of at most `rows` rows; 0 yields the whole file as one chunk."""
    return read_decoded(path, reading, lambda reading: _read(path, rows, columns, reading))


def _read(path: Path, rows: int, columns: Sequence[str] | None, reading: Reading) -> Iterator[pd.DataFrame]:
    encoding = reading.encoding
    try:
        header = _header(path, encoding)
        if header is None:
            return
        one_name_each(header.names, str(path))
        chosen = None if columns is None else chosen_columns(header.names, columns, str(path))
        options = {"sep": header.separator, "low_memory": False, "index_col": False}
        empty = {name: ["", *reading.words_in(name)] for name in header.names}
        na_values = empty if reading.missing_in else ["", *reading.missing]
        options |= {"keep_default_na": False, "na_values": na_values}
        options |= {"skiprows": header.before, "chunksize": rows or WHOLE}
        # commas that do not separate cells may be part of numbers: all columns together show how
        looked_at = header.names if chosen is None or header.separator != "," else chosen
        names = [name for name in looked_at if name in reading.names]
        types: dict[str, str] = {}
        numbers = set(header.names) - set(names)  # columns that hold only numbers so far, in any form
        counting = set(names)  # columns of names that are plain whole numbers so far
        negative: set[str] = set()  # columns with negative numbers, which unsigned types cannot hold
        codes = _Codes(header.separator)
        as_names = {**options, "dtype": dict.fromkeys(names, "str")}
        for rows_of_all in _chunks(path, header, as_names, codes):
            chunk = rows_of_all[looked_at]
            for name, dtype in chunk.dtypes.items():
                types[str(name)] = _joined(types.get(str(name)), dtype.name)
            negative |= {name for name in chunk if chunk[name].dtype == "int64" and (chunk[name] < 0).any()}
            numbers = {name for name in numbers & types.keys() if may_be_numbers(chunk[name])}
            counting = {name for name in counting if _counts(chunk[name])}
            texts = {name for name in numbers if types[name] == "str"}
            part = chunk if chosen is None else chunk[chosen]
            same = all(dtype == types[str(name)] for name, dtype in part.dtypes.items())
            if not rows and not texts and not codes.seen and same:
                yield part.astype(dict.fromkeys(counting & set(part), "int64"))
                return
        types |= dict.fromkeys({name for name in negative if types[name] == "uint64"}, "float64")
        types |= dict.fromkeys(counting, "int64")
        texts = {name for name in numbers if types[name] == "str"}
        numeric = {name for name, dtype in types.items() if dtype in ("float64", "int64", "uint64")}
        forms: dict[str, str] = {}
        unsure = [name for name in header.names if name in texts | (numeric - set(names))]
        if unsure and (texts or codes.seen):
            as_text = {**options, "usecols": unsure, "dtype": dict.fromkeys(unsure, "str")}
            forms, words = judged(_chunks(path, header, as_text), texts, header.separator)
            _say_emptied(path, words, chosen)
        types |= dict.fromkeys(forms, "str")
        for chunk in _chunks(path, header, {**options, "usecols": chosen, "dtype": types}):
            read = {name: as_written(chunk[name], form) for name, form in forms.items() if name in chunk}
            yield chunk.assign(**read)
    except UnicodeError:
        raise
    except (csv.Error, pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as problem:
        problem_text = f"{path} cannot be read as a table: {str(problem).strip()}"
        raise DataError(f"{problem_text}. Does a cell contain the separator without quotes?") from problem


def _header(path: Path, encoding: str) -> _Header | None:
    """Parse the first line that is not blank as the header; None if there is no such line."""
    with open_text(path, encoding) as file:
        first = file.readline()
        hint = HINT.fullmatch(first)
        text, lines = "" if hint else first, 1
        for line in islice(file, HEADER_LINES):
            if text.strip() and text.count('"') % 2 == 0:
                break
            text, lines = text + line if text.strip() else line, lines + 1
    if text.count('"') % 2:  # an unpaired quote does not quote anything
        lines -= len(text.splitlines()) - 1
        text = text.splitlines()[0]
    if not text.strip():
        return None
    bare = QUOTED.sub("", text)
    separator = "\t" if ".tsv" in map(str.lower, path.suffixes) else max(SEPARATORS, key=bare.count)
    separator = hint[1] if hint else separator
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    named = [name or f"Unnamed: {place}" for place, name in enumerate(names)]  # as pandas names them
    return _Header(separator, named, 1 if hint else 0, lines, encoding)


def _chunks(
    path: Path, header: _Header, options: Mapping[str, Any], codes: _Codes | None = None
) -> Iterator[pd.DataFrame]:
    """Yield the rows; if all columns are read, refuse a row with more cells than the header, as shifted."""
    beyond_too = {} if options.get("usecols") else {"converters": {BEYOND: bool}}
    first = 0
    with (
        open_text(path, header.encoding) as file,
        pd.read_csv(_Extended(file, header, codes), **options, **beyond_too) as reader,
    ):
        while True:
            with warnings.catch_warnings():  # pandas only warns when it drops cells at the start of a chunk
                warnings.simplefilter("error", pd.errors.ParserWarning)
                chunk = next(reader, None)
            if chunk is None:
                return
            if beyond_too:
                if BEYOND not in chunk:
                    raise ValueError(f"its header is read as {', '.join(chunk.columns)}")
                beyond = chunk.pop(BEYOND)
                if beyond.any():
                    raise ValueError(f"row {first + int(beyond.argmax())} has more cells than the header")
            first += len(chunk)
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
        before = [re.escape(sign) for sign in (separator, '"', "\r", "\n")]
        self.patterns = [re.compile(f"{sign}{CODE}(?=[{ends}])") for sign in before]
        self.seen, self.end = False, ""

    def look_at(self, text: str) -> None:
        if not self.seen:
            text = self.end + (text or "\n")  # the last cell ends with the file
            self.seen = any(pattern.search(text) for pattern in self.patterns)
            self.end = text[-LONGEST:]


def _counts(column: pd.Series) -> bool:
    """Whether all names are plain whole numbers, so that reading them as integers loses nothing."""
    return bool(column.notna().all() and column.str.fullmatch(COUNT).all())


def _say_emptied(path: Path, words: Mapping[str, Counter[str]], chosen: Sequence[str] | None) -> None:
    columns = [name for name in words if chosen is None or name in chosen]
    if columns:
        each = [f"column {name}, {words[name].total()} cells ({', '.join(words[name])})" for name in columns]
        shown = "; ".join(each[:SHOWN])
        more = f"; and {len(columns) - SHOWN} more columns" if len(columns) > SHOWN else ""
        message = f"{path}: words among numbers are read as empty cells: {shown}{more}"
        warnings.warn(DataWarning(message), stacklevel=2)


def _joined(before: str | None, now: str) -> str:
    """Return the type that holds both; non-numbers, and truth values mixed with others, become text."""
    numeric = {"int64", "uint64", "float64", "bool"}
    if before is None or before == now:
        return now if now in numeric else "str"
    if {before, now} == {"int64", "uint64"}:
        return "uint64"
    return "float64" if {before, now} <= {"int64", "uint64", "float64"} else "str"
