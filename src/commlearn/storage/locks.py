"""Locks of files, by the means that the operating system has, and one process at a time in a folder."""

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

PART = re.compile(r"\.(.+)\.\d+\.part")  # a file that is being written, or was by a process that was killed
FAR = 1 << 30  # the byte that is locked where locks are of bytes: behind what anybody reads or writes
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
        wait: for the process that has the lock now, for a few seconds at least.
        shared: with others that share it, too; Windows has no such locks, and none is taken there.

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
            FCNTL.flock(handle, (FCNTL.LOCK_SH if shared else FCNTL.LOCK_EX) | (0 if wait else FCNTL.LOCK_NB))
        elif shared and MSVCRT is not None:
            return True
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


@contextmanager
def open_part(path: Path) -> Iterator[BinaryIO]:
    """A new file that is locked, so that others see that somebody writes it; what is left of it is removed.

    What processes that were killed left of the same file is removed before.

    Args:
        path: of the file, such as `.x.1.part` for `x`; one that is there is emptied.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with open_part(folder / ".x.1.part") as file:
        ...     _ = file.write(b"whole")
        ...     remove_if_abandoned(folder / ".x.1.part")
        ...     os.listdir(folder)
        ['.x.1.part']
        >>> os.listdir(folder)
        []
    """
    for other in _parts_beside(path):
        remove_if_abandoned(other)
    file = _locked(path)
    try:
        yield file
    finally:
        left = not file.closed and _lies_at(file, path)
        with suppress(OSError):  # a full disk fails once more
            file.close()
        if left:
            path.unlink(missing_ok=True)


def _parts_beside(path: Path) -> list[Path]:
    """Parts of the same file by other writers."""
    name = PART.fullmatch(path.name)
    try:
        others = [other for other in os.listdir(path.parent) if other != path.name] if name else []
    except OSError:  # opening the file reports it
        return []
    return [
        path.with_name(other) for other in others if name and (m := PART.fullmatch(other)) and m[1] == name[1]
    ]


def _locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("wb")
        with suppress(OSError):  # some network disks lock nothing
            lock(file.fileno(), wait=True)
        if _lies_at(file, path):  # else it was removed as abandoned before it was locked
            return file
        file.close()


def _lies_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when the block has ended without an error, and is on the disk then.

    Until then the name stands for what it stood for before; its folder knows the new file even if the power
    fails.

    Args:
        path: of the file; what is written until the block ends lies beside it, as `file.name` says.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with whole_file(folder / "x") as file:
        ...     _ = file.write(b"whole")
        >>> os.listdir(folder)
        ['x']
    """
    number = secrets.randbelow(1 << 62)  # two processes on two machines may have one id
    with open_part(path.with_name(f".{path.name}.{number}.part")) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        if os.name == "nt":  # a file that is open keeps its name there
            file.close()
        os.replace(file.name, path)
        with suppress(OSError):  # some systems and disks cannot; the name is there all the same
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def remove_if_abandoned(path: Path) -> None:
    """Remove a part whose process has ended: a living one holds a lock on what it writes."""
    with suppress(OSError):
        with path.open("r+b") as file:
            if not lock(file.fileno()):
                return
            if os.name != "nt":
                path.unlink()  # while nobody else can begin to write it
        path.unlink(missing_ok=True)


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
    end = time.monotonic() + patience
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")  # what stands in it stays
    except OSError as problem:
        raise RunError(f"Cannot write to {folder}: {problem.strerror}.") from problem
    try:
        while not (alone := without_locks() or lock(file.fileno(), shared=shared)):
            if time.monotonic() > end:
                break
            time.sleep(0.1)
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
