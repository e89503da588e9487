"""One process at a time in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from commlearn.errors import RunError
from commlearn.storage.file_lock import lock

__all__ = ["LOCK", "hold", "turn"]

LOCK = "lock"
SWITCH = "COMMLEARN_LOCKS"  # an environment variable


def hold(folder: Path, doing: str, shared: bool = False, patience: float = 0.0) -> TextIO:
    """Make the folder and keep others out until the result is closed; a dead process holds nothing.

    Args:
        folder: which is made if it is not there.
        doing: what another process is doing if it is already in there, such as "training".
        shared: let others in that share it, too.
        patience: seconds to wait for that process.

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
        alone = _locked(file, shared, patience)
    except OSError as problem:
        file.close()
        raise RunError(
            f"Cannot lock the folder {folder}: {problem.strerror}. Its file system may have no locks. Give a "
            f"folder on another one; or set {SWITCH}=off, and see to it that one process at a time works "
            "there."
        ) from problem
    if not alone:
        file.close()
        raise RunError(f"Another process is {doing} in {folder}. Wait for it, or use another --out.")
    return file


def _locked(file: TextIO, shared: bool, patience: float) -> bool:
    """Whether the file is ours now; where the user does without locks, it always is."""
    end = time.monotonic() + patience
    while not (without_locks() or lock(file.fileno(), shared=shared)):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def without_locks() -> bool:
    """Whether the user has turned locks off."""
    return os.environ.get(SWITCH, "").lower() in ("off", "0", "no", "false")


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder, where folders can be locked."""
    if without_locks():  # which may wait forever where there are none
        yield
        return
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
