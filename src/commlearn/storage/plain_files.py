"""Checks of files before they are read: no pipes or devices, no excessive unpacking, no unpickling."""

from __future__ import annotations

import errno
import io
import os
import stat
import tokenize
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from commlearn.errors import DAMAGED, DataError

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
        array = np.load(source, allow_pickle=False)
    except (
        *(*DAMAGED, MemoryError, zipfile.BadZipFile),
        *(SyntaxError, tokenize.TokenError),  # the header is parsed as Python
    ) as problem:
        raise ValueError(str(problem) or type(problem).__name__) from problem
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an archive of several arrays")
    return array
