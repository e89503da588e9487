"""CSV as spreadsheets and pandas write it: the separator from its header, types from all of its rows."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from commlearn.data.parquet_files import chosen_columns, one_name_each
from commlearn.data.text_files import not_utf8, open_text
from commlearn.data.written_numbers import as_written, judged, may_be_numbers
from commlearn.errors import DataError

__all__ = ["read_csv"]

WHOLE = 1 << 62  # rows: more than any file has
BEYOND = "cells beyond the header"  # a column that pandas is given for them, as it may drop them otherwise
SEPARATORS = (",", ";", "\t", "|")
HINT = re.compile(r'"?sep=([,;|\t])"?\s*')  # a first line by which Excel is told the separator
QUOTED = re.compile(r'"[^"]*"')
HEADER_LINES = 100  # of a header whose names are quoted over several lines, at most


@dataclass(frozen=True)
class _Header:
    separator: str
    names: list[str]
    before: int  # lines before it that are no rows
    lines: int  # of the file, up to its end


def read_csv(path: Path, rows: int, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    """The file in chunks of at most `rows` rows; 0 gives the whole as one."""
    try:
        header = _header(path)
        if header is None:
            return
        one_name_each(header.names, str(path))
        chosen = None if columns is None else chosen_columns(header.names, columns, str(path))
        options = {"sep": header.separator, "low_memory": False, "index_col": False}
        options |= {"skiprows": header.before, "chunksize": rows or WHOLE}
        # a comma that separates nothing may stand in numbers: how, is told from all columns
        looked_at = chosen if header.separator == "," else None
        types: dict[str, str] = {}
        texts: set[str] = set()
        numbers = set(header.names)  # columns of numbers as far as was read, however written
        for rows_of_all in _chunks(path, header, options):
            chunk = rows_of_all if looked_at is None else rows_of_all[looked_at]
            for name, dtype in chunk.dtypes.items():
                types[str(name)] = _joined(types.get(str(name)), dtype.name)
            numbers = {name for name in numbers & types.keys() if may_be_numbers(chunk[name])}
            texts = {name for name in numbers if types[name] == "str"}
            part = chunk if chosen is None else chunk[chosen]
            if (
                not rows
                and not texts
                and all(dtype == types[str(name)] for name, dtype in part.dtypes.items())
            ):
                yield part
                return
        forms = _forms_of_numbers(path, header, options, types, texts) if texts else {}
        types |= dict.fromkeys(forms, "str")
        for chunk in _chunks(path, header, {**options, "usecols": chosen, "dtype": types}):
            found = {name: as_written(chunk[name], form) for name, form in forms.items() if name in chunk}
            yield chunk.assign(**found)
    except UnicodeDecodeError as problem:
        raise not_utf8(path) from problem
    except (csv.Error, pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as problem:
        told = f"{path} cannot be read as a table: {str(problem).strip()}"
        raise DataError(f"{told}. Is a cell that holds the separator not in quotes?") from problem


def _header(path: Path) -> _Header | None:
    """The first line that is not blank; None in a file without any."""
    with open_text(path) as file:
        first = file.readline()
        hint = HINT.fullmatch(first)
        text, lines = "" if hint else first, 1
        for line in islice(file, HEADER_LINES):
            if text.strip() and text.count('"') % 2 == 0:
                break
            text, lines = text + line if text.strip() else line, lines + 1
    if text.count('"') % 2:  # a quote that is none
        lines -= len(text.splitlines()) - 1
        text = text.splitlines()[0]
    if not text.strip():
        return None
    bare = QUOTED.sub("", text)
    separator = "\t" if ".tsv" in path.suffixes else max(SEPARATORS, key=bare.count)
    separator = hint[1] if hint else separator
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    named = [name or f"Unnamed: {place}" for place, name in enumerate(names)]  # as pandas names them
    return _Header(separator, named, 1 if hint else 0, lines)


def _chunks(path: Path, header: _Header, options: Mapping[str, Any]) -> Iterator[pd.DataFrame]:
    """The rows; where all columns are read, a row with a cell beyond the header is refused, as it shifted."""
    beyond_too = {} if options.get("usecols") else {"converters": {BEYOND: bool}}
    first = 0
    with open_text(path) as file, pd.read_csv(_Extended(file, header), **options, **beyond_too) as reader:
        while True:
            with warnings.catch_warnings():  # what pandas drops at the start of a chunk, it only warns of
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
    """A file of text whose header has one column more."""

    def __init__(self, file: io.TextIOWrapper, header: _Header) -> None:
        self.file = file
        self.head = "".join(islice(file, header.lines)).rstrip("\r\n") + f"{header.separator}{BEYOND}\n"

    def read(self, size: int | None = -1) -> str:
        head, self.head = self.head, ""
        return head or self.file.read(size)


def _joined(before: str | None, now: str) -> str:
    """The type that holds both; what is no number, or mixes truth values with anything, is text."""
    known = {"int64", "uint64", "float64", "bool"}
    if before is None or before == now:
        return now if now in known else "str"
    return "float64" if {before, now} <= {"int64", "float64"} else "str"


def _forms_of_numbers(
    path: Path, header: _Header, options: Mapping[str, Any], types: Mapping[str, str], texts: set[str]
) -> dict[str, str]:
    """Columns of numbers that pandas takes for text or, with points between thousands, for fractions."""
    looked_at = [name for name, dtype in types.items() if name in texts or dtype == "float64"]
    as_text = {**options, "usecols": looked_at, "dtype": dict.fromkeys(looked_at, "str")}
    return judged(_chunks(path, header, as_text), texts, header.separator)
