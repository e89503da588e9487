"""File locks, as the operating system provides them, and one process at a time in a folder."""

from __future__ import annotations

import errno
import importlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from commlearn.errors import RunError

PART = re.compile(r"\.(.+)\.\d+\.part")  # a file that a process writes, or wrote before it was killed
FAR = 1 << 30  # the byte to lock if locks apply to bytes: beyond all that is read or written
LOCK = "lock"
SWITCH = "COMMLEARN_LOCKS"  # an environment variable


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


FCNTL, MSVCRT = _module("fcntl"), _module("msvcrt")


def lock(handle: int, wait: bool = False, shared: bool = False) -> bool:
    """Lock a file against other processes until it is closed; a process that dies closes its files.

    Args:
        handle: the file's descriptor.
        wait: whether to wait for the process that has the lock now, for a few seconds at least.
        shared: whether to share the lock with others that do; Windows cannot, and takes none then.

    Returns:
        False if another process has the lock.

    Raises:
        OSError: the file cannot be locked at all, for example on some network disks.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     lock(file.fileno())
        True
    """
    try:
        if FCNTL is not None:
            FCNTL.flock(handle, (FCNTL.LOCK_SH if shared else FCNTL.LOCK_EX) | (0 if wait else FCNTL.LOCK_NB))
        elif shared and MSVCRT is not None:
            return True
        elif MSVCRT is not None:
            _lock_byte(handle, MSVCRT.LK_LOCK if wait else MSVCRT.LK_NBLCK)
        else:
            raise OSError(errno.ENOLCK, "this Python has neither fcntl nor msvcrt, so no file can be locked")
    except OSError as problem:
        if problem.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def _lock_byte(handle: int, mode: int) -> None:
    position = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, FAR, os.SEEK_SET)
    try:
        MSVCRT.locking(handle, mode, 1)
    finally:
        os.lseek(handle, position, os.SEEK_SET)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name, and is safely on the disk, when the block ends without an error.

    Until then the name refers to what it did before. The folder's entry is written to the disk as well, so
    that the new file survives a power failure. What was written is removed if the block ends with an error;
    remains of the same file from processes that were killed are removed first.

    Args:
        path: path of the file; until the block ends, `file.name` in the same folder holds what was written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_file(folder / "x") as file:
        ...     _ = file.write(b"whole")
        >>> os.listdir(folder)
        ['x']
    """
    with suppress(OSError):  # opening the file reports it
        for name in os.listdir(path.parent):
            if (match := PART.fullmatch(name)) and match[1] == path.name:
                remove_if_abandoned(path.with_name(name))
    number = secrets.randbelow(1 << 62)  # processes on two machines may have the same id
    part = path.with_name(f".{path.name}.{number}.part")
    while True:
        file = part.open("wb")
        with suppress(OSError):  # some network disks have no locks
            lock(file.fileno(), wait=True)  # so that others see it being written
        if _lies_at(file, part):  # otherwise it was removed as abandoned before the lock
            break
        file.close()
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        if os.name == "nt":  # an open file cannot be renamed there
            file.close()
        os.replace(part, path)
        with suppress(OSError):  # some systems and disks cannot; the file has its name anyway
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        unfinished = not file.closed and _lies_at(file, part)
        with suppress(OSError):  # a full disk fails once more
            file.close()
        if unfinished:
            part.unlink(missing_ok=True)


def _lies_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def remove_if_abandoned(path: Path) -> None:
    """Remove a part whose process has ended; a live process holds a lock on what it writes."""
    with suppress(OSError):
        with path.open("r+b") as file:
            if not lock(file.fileno()):
                return
            if os.name != "nt":
                path.unlink()  # while no other process can start to write it
        path.unlink(missing_ok=True)


def hold(folder: Path, doing: str, shared: bool = False, patience: float = 0.0) -> TextIO:
    """Make a folder and lock it against other processes until the result is closed or this process dies.

    Args:
        folder: the folder to lock.
        doing: what another process that holds the lock is doing, such as "training", for the message.
        shared: whether to share the lock with others that do so.
        patience: seconds to wait for the other process.

    Example:
        >>> import tempfile
        >>> held = hold(Path(tempfile.mkdtemp()), "training")
        >>> held.close()
    """
    end = time.monotonic() + patience
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")  # keeps existing content
    except OSError as problem:
        raise RunError(f"Cannot write to {folder}: {problem.strerror}.") from problem
    try:
        while not (without_locks() or lock(file.fileno(), shared=shared)):
            if time.monotonic() > end:
                file.close()
                raise RunError(f"Another process is {doing} in {folder}. Wait for it, or use another out=.")
            time.sleep(0.1)
    except OSError as problem:
        file.close()
        raise RunError(
            f"Cannot lock the folder {folder}: {problem.strerror}. Its file system may not support locks. "
            f"Give a folder on another one; or set {SWITCH}=off, and make sure that only one process at a "
            "time works there."
        ) from problem
    return file


def without_locks() -> bool:
    """Return whether the user has turned locks off."""
    return os.environ.get(SWITCH, "").lower() in ("off", "0", "no", "false")


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Wait until no other process is in this block for the same folder, if folders can be locked."""
    handle: int | None = None
    try:
        with suppress(OSError):  # Windows cannot open folders, and some network disks cannot lock them
            if not without_locks():  # where locks do not work, waiting may never end
                handle = os.open(folder, os.O_RDONLY)
                lock(handle, wait=True)
        yield
    finally:
        if handle is not None:
            os.close(handle)
