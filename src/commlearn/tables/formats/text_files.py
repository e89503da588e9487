"""Text files, also as .gz, in UTF-8 or a guessed encoding; errors name the first wrong byte."""

from __future__ import annotations

import gzip
import io
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from commlearn.errors import DataError, DataWarning
from commlearn.storage.plain_files import Unpacked, plain_file
from commlearn.tables.formats.reading import Reading

Rows = TypeVar("Rows")

UTF8 = "utf-8-sig"  # skips the byte order mark that some programs write
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
BLOCK = 1 << 20  # bytes to read at a time
SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
PRINTED = {*b"\t\n\r\f", *range(32, 127), *range(128, 256)} - {0x81, 0x8D, 0x8F, 0x90, 0x9D}  # cp1252
ZEROS = 0.2  # share of zero bytes from which text may be UTF-16


def open_text(path: Path, encoding: str = "") -> io.TextIOWrapper:
    """Open a file as text, UTF-8 by default; line endings are not changed."""
    return io.TextIOWrapper(_binary(path), encoding=encoding or UTF8, newline="")


def guessed_encoding(path: Path) -> str:
    """Guess the encoding of a file that is not UTF-8 from its bytes; a warning names it.

    Raises:
        DataError: it is UTF-8 with wrong bytes, or not text.
    """
    encoding = _utf16(path) or _western(path)
    if not encoding:
        raise not_in_encoding(path)
    message = f"{path} is not UTF-8 and is read as {encoding}"
    message += (
        "" if encoding.startswith("utf") else f" (Western European; {_locate_wrong_byte(path, 'utf-8')})"
    )
    warnings.warn(DataWarning(f"{message}. If letters look wrong, set encoding in the schema"), stacklevel=4)
    return encoding


def read_decoded(path: Path, reading: Reading, read: Callable[[Reading], Iterator[Rows]]) -> Iterator[Rows]:
    """Yield what `read` yields for a text file; if it is not UTF-8, read it again in a guessed encoding.

    Args:
        path: path of the file.
        reading: may name the encoding; otherwise UTF-8 is tried first.
        read: yields rows of the file in a reading's encoding, or raises UnicodeError before the first.
    """
    try:
        yield from read(reading)
    except UnicodeError as problem:
        if reading.encoding:
            raise not_in_encoding(path, reading.encoding) from problem
        yield from read(replace(reading, encoding=guessed_encoding(path)))


def not_in_encoding(path: Path, encoding: str = "utf-8") -> DataError:
    """Return an error that locates the first byte that does not fit the encoding."""
    name = "UTF-8" if encoding == "utf-8" else encoding
    way_out = "Save the file as UTF-8" if encoding == "utf-8" else "Set another encoding in the schema"
    return DataError(f"{path}, {_locate_wrong_byte(path, encoding)} is not {name}. {way_out}.")


def _locate_wrong_byte(path: Path, encoding: str) -> str:
    with _binary(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as problem:
                return f"line {number}, byte {problem.start + 1} (0x{line[problem.start]:02x})"
    return "its end"


def _utf16(path: Path) -> str:
    """Detect UTF-16 by its mark, or by many zeros at every second byte, which Western text has."""
    with _binary(path) as file:
        start = file.read(BLOCK)
    if start[:2] in MARKS:
        return MARKS[start[:2]]
    zeros = [start[offset::2].count(0) for offset in (0, 1)]
    if sum(zeros) < ZEROS * len(start) or min(zeros) > ZEROS * max(zeros):
        return ""
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def _western(path: Path) -> str:
    """Detect cp1252, which includes latin-1: all bytes are printable in it, and few look like UTF-8."""
    sequences = others = 0
    for block in _blocks(path):
        if not set(block) <= PRINTED:
            return ""
        rest, count = SEQUENCE.subn(b"", block)
        sequences += count
        others += sum(byte > 127 for byte in rest)
    return "cp1252" if others > sequences else ""


def _blocks(path: Path) -> Iterator[bytes]:
    with _binary(path) as file:
        while block := file.read(BLOCK):
            yield block


def _binary(path: Path) -> BinaryIO:
    plain_file(path)
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    return io.BufferedReader(Unpacked(gzip.open(path), path), 1 << 16)  # type: ignore[arg-type]
