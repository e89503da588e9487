"""A lock on an open file, by the means that the operating system has."""

from __future__ import annotations

import errno
import importlib
import os
from typing import Any

__all__ = ["lock"]

FAR = 1 << 30  # the byte that is locked where locks are of bytes: behind what anybody reads or writes


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


FCNTL, MSVCRT = _module("fcntl"), _module("msvcrt")


def lock(handle: int, wait: bool = False) -> bool:
    """Lock a file against other processes until it is closed; a process that dies closes its files.

    Args:
        handle: the file's descriptor.
        wait: for the process that has the lock now, for a few seconds at least.

    Returns:
        False if another process has the lock.

    Raises:
        OSError: the file cannot be locked at all, such as on some network disks.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     lock(file.fileno())
        True
    """
    try:
        if FCNTL is not None:
            FCNTL.flock(handle, FCNTL.LOCK_EX | (0 if wait else FCNTL.LOCK_NB))
        elif MSVCRT is not None:
            _lock_byte(handle, MSVCRT.LK_LOCK if wait else MSVCRT.LK_NBLCK)
        else:
            raise OSError(
                errno.ENOLCK, "this Python has neither fcntl nor msvcrt, so that no file can be locked"
            )
    except OSError as problem:
        if problem.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def _lock_byte(handle: int, mode: int) -> None:
    place = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, FAR, os.SEEK_SET)
    try:
        MSVCRT.locking(handle, mode, 1)
    finally:
        os.lseek(handle, place, os.SEEK_SET)
