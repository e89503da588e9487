"""Location of tables: on this machine, or anywhere that pyarrow's or fsspec's file systems reach.

Tables that the user names are fetched; those that a loaded folder names are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pyarrow as pa
from pyarrow import fs

from commlearn.errors import DataError
from commlearn.storage.plain_files import path_hint

_MAY_FETCH: ContextVar[bool] = ContextVar("fetched", default=True)


@dataclass(frozen=True)
class Files:
    """The files of one table, in order of their endings and names."""

    label: str  # what the user calls the table
    filesystem: fs.FileSystem
    paths: tuple[str, ...]
    root: Path  # folder to which paths in cells are relative

    def size(self, path: str) -> int:
        return int(self.filesystem.get_file_info(path).size or 0)


def is_remote(source: object) -> bool:
    """Return whether a table is named by a URL, such as s3://bucket/table.

    Example:
        >>> is_remote("s3://bucket/table"), is_remote("films.parquet")
        (True, False)
    """
    return isinstance(source, str) and "://" in source


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Refuse tables at URLs within the block, and look for models of a hub on this machine only."""
    token = _MAY_FETCH.set(False)
    try:
        yield
    finally:
        _MAY_FETCH.reset(token)


def may_fetch() -> bool:
    """Return whether tables and models may be fetched, because the user named them."""
    return _MAY_FETCH.get()


def refuse_remote(source: object) -> None:
    """Raise an error if a table that a loaded folder names is at a URL."""
    if is_remote(source):
        raise DataError(
            f"The training table is at {source}, and a loaded folder never starts a download. Pass the table "
            "yourself: it is an argument of every command and function that reads rows."
        )


def find_files(source: str | Path, endings: Sequence[str]) -> Files:
    """Return one file, or the files of a folder that have one of these endings.

    Args:
        source: path or URL of a file or a folder.
        endings: endings such as `.parquet`; files of a folder with the first ending come first.
    """
    if not may_fetch():
        refuse_remote(source)
    filesystem, path = (
        _open_filesystem(str(source)) if is_remote(source) else (fs.LocalFileSystem(), str(source))
    )
    try:
        information = filesystem.get_file_info(path)
        if information.type == fs.FileType.NotFound:
            raise DataError(f"There is no table {source}. Check the path.")
        if information.type == fs.FileType.Unknown:
            raise DataError(
                f"{source} is not a table: it is a pipe, a socket or a device. Give a file or a folder."
            )
        if information.type == fs.FileType.File:
            return Files(str(source), filesystem, (path,), Path() if is_remote(source) else Path(path).parent)
        entries = filesystem.get_file_info(fs.FileSelector(path))
    except OSError as problem:
        raise DataError(
            f"{source} cannot be opened: {problem}. Check the address and your permissions."
        ) from problem
    names = sorted(entry.path for entry in entries if entry.type == fs.FileType.File)
    chosen = tuple(name for ending in endings for name in names if name.lower().endswith(ending))
    if not chosen:
        raise DataError(
            f"The folder {source} holds no {endings[0]} file. Give a file, or a folder of "
            f"{' or '.join(endings)} files." + path_hint(source, "table")
        )
    return Files(str(source), filesystem, chosen, Path() if is_remote(source) else Path(path))


def _open_filesystem(url: str) -> tuple[fs.FileSystem, str]:
    """Return pyarrow's own file system for the URL, otherwise fsspec's, and the path in it."""
    with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
        return fs.FileSystem.from_uri(url)
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError, OSError) as problem:
        raise DataError(
            f"{url} cannot be opened: {problem}. Install the package of its file system, or give a path."
        ) from problem
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
