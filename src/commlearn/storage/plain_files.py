"""Checks of files before they are read: no pipes or devices, no excessive unpacking, no unpickling.

A path that holds something other than expected gets a hint: what it is, and the command to run next.
"""

from __future__ import annotations

import errno
import io
import os
import shlex
import stat
import tokenize
import zipfile
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from commlearn.errors import DAMAGED, DataError, nearest

ALWAYS = 64 << 20  # bytes that any packed file may unpack to
TIMES = 100  # multiple of its own size that a packed file may unpack to
ALLOWED = "COMMLEARN_UNPACKED_GIB"  # environment variable: GiB that may always be unpacked
SORTS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def plain_file(path: str | Path) -> Path:
    """Return the path itself, if it is that of a regular file.

    Raises:
        OSError: there is nothing, or a pipe, a socket or a device, from which reading may never end.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as problem:
        raise OSError(errno.EINVAL, "this is not a valid file name", str(path)) from problem
    if not stat.S_ISREG(mode):
        kind = SORTS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))
    return Path(path)


def check_unpacked(what: str, size: int, packed: int) -> None:
    """Refuse content that unpacks to far more than its packed size.

    Args:
        what: name of the file, and of the content in it.
        size: unpacked size in bytes, as far as it is known.
        packed: packed size in bytes.
    """
    limit = max(ALWAYS, TIMES * packed, int(_allowed_gib() * 2**30))
    if size > limit:
        raise DataError(
            f"{what} unpacks to {size:,} bytes or more, from {packed:,}; at most {limit:,} are read. If you "
            f"trust it, unpack it yourself, or allow more GiB: {ALLOWED}={-(-size // 2**30) + 1}"
        )


class Unpacked(io.RawIOBase):
    """Stream of the unpacked content of a file, which fails if that is far larger than the file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.packed, self.count = path.stat().st_size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self.file.read(len(buffer))
        self.count += len(content)
        check_unpacked(str(self.path), self.count, self.packed)
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self.file.close()
        super().close()


def _allowed_gib() -> float:
    try:
        return float(os.environ.get(ALLOWED, "0"))
    except ValueError:
        raise DataError(f"{ALLOWED} is {os.environ[ALLOWED]!r}; give a number of GiB, such as 8.") from None


def read_npy(source: Path | BinaryIO) -> np.ndarray:
    """Return the array in a .npy file, without trusting the file's header or unpickling anything.

    Raises:
        ValueError: the file holds something else, or less than its header says.
        OSError: the file cannot be read.
    """
    try:
        array = np.load(source, allow_pickle=False)  # parses the header as Python
    except (*DAMAGED, MemoryError, zipfile.BadZipFile, SyntaxError, tokenize.TokenError) as problem:
        raise ValueError(str(problem) or type(problem).__name__) from problem
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an archive of several arrays")
    return array


TABLES = (".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson", ".tar", ".xlsx", ".feather")
RUNS = ("config.yaml", "config.json")  # configuration files of a training and of an export
SHOWN = 3  # most runs of a folder that are named


def path_hint(path: str | Path, wanted: Literal["run", "table", "recipe"]) -> str:
    """Return a sentence about what is at a path, to be added to an error; empty if there is nothing to say.

    Args:
        path: the path that the user named.
        wanted: what should be there.

    Example:
        >>> path_hint("films.csv", "run")
        ''
        >>> import pathlib
        >>> written = pathlib.Path("films.csv").write_text("a,b")
        >>> path_hint("films.csv", "recipe")
        ' It is a table. Guess a schema for it first: commlearn init films.csv -o films.yaml'
    """
    path = Path(path)
    return f" {sentence}" if (sentence := _sentence(path, wanted)) else ""


def _sentence(path: Path, wanted: str) -> str:
    argument, stem = shlex.quote(str(path)), shlex.quote(f"{path.name.partition('.')[0]}.yaml")
    if not os.path.exists(path):
        guess = nearest(path.name, os.listdir(path.parent)) if os.path.isdir(path.parent) else None
        return f"There is nothing there; did you mean {path.with_name(guess)}?" if guess else ""
    if os.path.isdir(path):
        if _is_run(path):
            return "" if wanted == "run" else f"It is the folder of a run, but a {wanted} is expected here."
        runs = sorted(str(folder) for folder in path.iterdir() if _is_run(folder))
        return f"Runs in it: {', '.join(runs[:SHOWN])}." if runs and wanted == "run" else ""
    if _is_run(path.parent) and path.name in RUNS:
        return f"It is a file of a run; the run's folder is {path.parent}."
    if path.suffix in (".yaml", ".yml") and wanted != "recipe":
        advice = f" Train on it first: commlearn train {argument}" if wanted == "run" else ""
        return f"It is a schema or a recipe, but a {wanted} is expected here.{advice}"
    if path.with_suffix("").suffix in TABLES or path.suffix in TABLES:
        next_steps = {
            "run": f"Train on it first: commlearn init {argument} -o {stem}; commlearn train {stem}",
            "recipe": f"Guess a schema for it first: commlearn init {argument} -o {stem}",
        }
        return f"It is a table. {next_steps[wanted]}" if wanted in next_steps else ""
    return ""


def _is_run(folder: Path) -> bool:
    return any(os.path.exists(folder / name) for name in RUNS)
