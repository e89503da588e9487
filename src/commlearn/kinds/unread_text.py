"""Text that stands for something else: dates, numbers, files and addresses, and why it is not read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from commlearn.data.written_numbers import FORMS

__all__ = ["DATES", "ending_of", "unread"]

DATES = "dates are not read; turn them into numbers, such as days since a date"
MOST = 0.9  # share of the cells that look alike
NUMBERS = 0.8  # share of numbers from which the other cells are marks, such as n.a.
MANY = 20  # different values: at most as many may be categories
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([T ]+\d{1,2}:\d{2}.*)?"
)
ADDRESS = re.compile(r"[a-z0-9]+://.*", re.IGNORECASE)
CODE = re.compile(r"\d+|0\d.*")  # whole numbers, and such as 007
UNIT = re.compile(r"([€$£¥]?)\s*[-+]?\d[\d.,]*\s*([%€$£¥]|[a-zµ°]\S{0,3})?")
WAYS_OUT = {
    "sound is read from .wav files; convert them": (".mp3", ".flac", ".ogg", ".m4a", ".aac", ".opus"),
    "video is not read; give frames as images, or the sound as .wav": (".mp4", ".avi", ".mov", ".mkv"),
    "put the text itself into the cells": (".txt", ".md", ".html", ".pdf", ".docx"),
    "convert them to .npy": (".npz", ".pt", ".h5", ".hdf5", ".mat", ".edf", ".parquet", ".json", ".xlsx"),
    "convert them to .png": (".dcm", ".nii", ".svg", ".heic"),
}


def ending_of(cell: str) -> str:
    """The ending of what may be a path, in small letters.

    Example:
        >>> ending_of(" img/A.PNG "), ending_of("https://example.org/a.jpg?width=200")
        ('.png', '.jpg')
    """
    name = cell.strip()
    if ADDRESS.fullmatch(name):
        name = re.split(r"[?#]", name)[0]
    return Path(name).suffix.lower() if len(name) < 500 else ""


def unread(cells: Sequence[str], distinct: int) -> str:
    """Why a column of such text is not read, and the way out; "" where it is text or categories.

    Example:
        >>> unread(["2024-01-31", "2024-02-01"], 2)
        'dates are not read; turn them into numbers, such as days since a date'
        >>> unread(["red", "blue"], 2)
        ''
    """
    most = MOST * len(cells)
    if sum(DATE.fullmatch(cell.strip()) is not None for cell in cells) >= most:
        return DATES
    endings = Counter(map(ending_of, cells))
    for way_out, known in WAYS_OUT.items():
        if sum(endings[ending] for ending in known) >= most:
            return f"paths that end in {max(known, key=lambda ending: endings[ending])}; {way_out}"
    if distinct <= MANY:
        return ""
    if sum(ADDRESS.fullmatch(cell.strip()) is not None for cell in cells) >= most:
        return "addresses, of which nothing is fetched; download the files and name their paths"
    return _numbers(cells, distinct)


def _numbers(cells: Sequence[str], distinct: int) -> str:
    """Why numbers are text, if they are numbers; numbers that may name something are left alone."""
    plain = {form: [bool(re.fullmatch(pattern, cell)) for cell in cells] for form, pattern in FORMS.items()}
    form = max(plain, key=lambda form: sum(plain[form]))
    if all(plain[form]):
        if distinct >= len(cells) and all(CODE.fullmatch(cell) for cell in cells):
            return ""
        if any("," in cell for cell in cells):
            return "numbers with a comma, written as text; turn them into numbers (pandas: decimal=',')"
        return "numbers written as text; turn them into numbers (pandas: to_numeric)"
    if sum(plain[form]) >= NUMBERS * len(cells):
        marks = [cell for cell, number in zip(cells, plain[form], strict=True) if not number]
        shown = ", ".join(repr(mark[:20]) for mark in dict.fromkeys(marks[:3]))
        return f"numbers, but for cells such as {shown}; empty these, and it is read as numbers"
    units = Counter(match.groups("") if (match := UNIT.fullmatch(cell.strip())) else None for cell in cells)
    unit, count = units.most_common(1)[0]
    if unit is not None and count >= MOST * len(cells):
        return f"numbers with '{''.join(unit)}' beside them; write the numbers alone"
    return ""
