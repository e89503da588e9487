"""Files of embeddings are told from those of somebody else, which are never replaced."""

from __future__ import annotations

import csv
import re
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from commlearn.errors import ConfigurationError

__all__ = ["refuse_file_of_others"]


def refuse_file_of_others(path: Path) -> None:
    """Refuse to replace a file that does not hold embeddings as this library writes them.

    Args:
        path: to be written; ends in .parquet, .csv or .npz.
    """
    if path.exists() and not _holds_embeddings(path):
        raise ConfigurationError(
            f"{path} exists, and does not hold embeddings that commlearn wrote. Give another --out, or move "
            "it away."
        )


def _holds_embeddings(path: Path) -> bool:
    try:
        if path.suffix == ".parquet":
            return "embedding" in pq.read_schema(path).names
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return "embedding.npy" in archive.namelist()
        with path.open(encoding="utf-8", newline="") as file:
            return _numbered(next(csv.reader(file), []))
    except (OSError, ValueError, csv.Error, zipfile.BadZipFile, pa.ArrowException):
        return False


def _numbered(columns: list[str]) -> bool:
    """Whether the last columns are those of embeddings: comm0, comm1, and so on.

    Example:
        >>> _numbered(["id", "comm0", "comm1"]), _numbered(["id", "price"])
        (True, False)
    """
    last = re.fullmatch(r"(.*\D)(\d+)", columns[-1]) if columns else None
    if last is None or len(columns) <= int(last[2]):
        return False
    count = int(last[2]) + 1
    return columns[-count:] == [f"{last[1]}{place}" for place in range(count)]
