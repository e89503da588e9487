"""Files of text, also as .gz: opened as UTF-8; errors name the place that is not UTF-8."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import BinaryIO

from commlearn.errors import DataError
from commlearn.storage.plain_files import Unpacked, plain_file

__all__ = ["not_utf8", "open_text"]


def open_text(path: Path) -> io.TextIOWrapper:
    """The file as text, without the mark that some programs begin it with; ends of lines stay as they are."""
    return io.TextIOWrapper(_binary(path), encoding="utf-8-sig", newline="")


def not_utf8(path: Path) -> DataError:
    """Where the first byte is that is not UTF-8."""
    with _binary(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as problem:
                byte = f"byte {problem.start + 1} (0x{line[problem.start]:02x})"
                return DataError(f"{path}, line {number}, {byte} is not UTF-8. Save the file as UTF-8.")
    return DataError(f"{path} is not UTF-8. Save the file as UTF-8.")


def _binary(path: Path) -> BinaryIO:
    plain_file(path)
    if path.suffix != ".gz":
        return path.open("rb")
    return io.BufferedReader(Unpacked(gzip.open(path), path), 1 << 16)  # type: ignore[arg-type]
