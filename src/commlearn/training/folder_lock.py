"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TextIO

from commlearn.errors import RunError

__all__ = ["hold"]


def hold(folder: Path, doing: str) -> TextIO:
    """Make the folder and keep others out until the result is closed; a dead process holds nothing.

    Args:
        folder: which is made if it is not there.
        doing: what another process is doing if it is already in there, such as "training".

    Example:
        >>> import tempfile
        >>> held = hold(Path(tempfile.mkdtemp()), "training")
        >>> held.close()
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as problem:
        raise RunError(f"Cannot write to {folder}: {problem.strerror}.") from problem
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        told = f"Another process is {doing} in {folder}. Wait for it, or use another --out."
        raise RunError(told) from None
    return file
