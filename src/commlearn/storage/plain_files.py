"""What may be read as a file: no pipe, no device, nothing that unpacks out of proportion or is unpickled."""

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

ALWAYS = 64 << 20  # bytes that anything packed may unpack to
TIMES = 100  # its own size that more may have
ALLOWED = "COMMLEARN_UNPACKED_GIB"  # a setting of the environment: GiB that may be unpacked in any case
SORTS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def plain_file(path: str | Path) -> Path:
    """The path itself, if a file lies there.

    Raises:
        OSError: there is nothing, or a pipe, a socket or a device, from which reading may never end.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as problem:
        raise OSError(errno.EINVAL, "no file can be called so", str(path)) from problem
    if not stat.S_ISREG(mode):
        sort = SORTS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {sort} and no file", str(path))
    return Path(path)


def check_unpacked(what: str, size: int, packed: int) -> None:
    """Refuse what unpacks to far more than it is.

    Args:
        what: the file, and what in it.
        size: bytes when it is unpacked, as far as that is known.
        packed: bytes as it is.
    """
    most = max(ALWAYS, TIMES * packed, int(_allowed() * 2**30))
    if size > most:
        raise DataError(
            f"{what} unpacks to {size:,} bytes or more, of {packed:,}; {most:,} are read at most. If you "
            f"trust it, unpack it yourself, or allow more GiB: {ALLOWED}={-(-size // 2**30) + 1}"
        )


class Unpacked(io.RawIOBase):
    """The unpacked content of a file, as much of it as is in proportion."""

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


def _allowed() -> float:
    try:
        return float(os.environ.get(ALLOWED, "0"))
    except ValueError:
        raise DataError(f"{ALLOWED} is {os.environ[ALLOWED]!r}; give a number of GiB, such as 8.") from None


def read_npy(source: Path | BinaryIO) -> np.ndarray:
    """The array in a .npy file: what a file says of itself is not believed, and nothing is unpickled.

    Raises:
        ValueError: it holds something else, or less than it says.
        OSError: it cannot be read.
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
