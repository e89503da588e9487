"""One process at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from commlearn.data.file_lock import lock
from commlearn.errors import RunError

__all__ = ["LOCK", "hold", "turn"]

LOCK = "lock"


def hold(folder: Path, doing: str, shared: bool = False) -> TextIO:
    """Make the folder and keep others out until the result is closed; a dead process holds nothing.

    Args:
        folder: which is made if it is not there.
        doing: what another process is doing if it is already in there, such as "training".
        shared: let others in that share it, too.

    Example:
        >>> import tempfile
        >>> held = hold(Path(tempfile.mkdtemp()), "training")
        >>> held.close()
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")  # what stands in it stays
    except OSError as problem:
        raise RunError(f"Cannot write to {folder}: {problem.strerror}.") from problem
    try:
        alone = lock(file.fileno(), shared=shared)
    except OSError as problem:
        file.close()
        raise RunError(
            f"Cannot lock {folder / LOCK}: {problem.strerror}. Give a folder on another disk."
        ) from problem
    if not alone:
        file.close()
        raise RunError(f"Another process is {doing} in {folder}. Wait for it, or use another --out.")
    return file


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder, where folders can be locked."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        yield
        return
    try:
        with suppress(OSError):  # nor do some network disks lock them
            lock(handle, wait=True)
        yield
    finally:
        os.close(handle)
