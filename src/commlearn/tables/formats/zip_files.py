"""A table in a .zip, alone or with the files that its cells name, unpacked until the process ends."""

from __future__ import annotations

import stat
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path, PurePosixPath

from commlearn.errors import DataError
from commlearn.storage.plain_files import check_unpacked, plain_file
from commlearn.tables.formats.table_files import FORMATS, format_of

SHOWN = 5  # tables listed in a message, at most
BROKEN = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError)


def table_in_zip(path: Path) -> Path:
    """Return the path of the archive's only table, unpacked with all other files, once per process."""
    status = plain_file(path).stat()
    folder = _unpacked(str(path), status.st_size, status.st_mtime_ns)
    return Path(folder.name) / _only_table(path)


@lru_cache(maxsize=16)
def _unpacked(path: str, size: int, modified: int) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="commlearn-zip-")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_unpacked(path, sum(member.file_size for member in members), size)
            for member in members:
                if stat.S_ISLNK(member.external_attr >> 16) or not _stays_inside(member.filename):
                    raise DataError(
                        f"{path}: {member.filename!r} points outside the archive. Pack it again without it."
                    )
                archive.extract(member, folder.name)
    except BROKEN as problem:
        raise DataError(f"{path} cannot be unpacked: {problem}. Is it cut off?") from problem
    return folder


def _only_table(path: Path) -> str:
    """Return the only table at the highest level; .csv files in folders below may be named by cells."""
    with zipfile.ZipFile(path) as archive:
        names = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
    tables = [name for name in names if _is_table(name)]
    depth = min((len(name.parts) for name in tables), default=0)
    tables = [name for name in tables if len(name.parts) == depth]
    if len(tables) != 1:
        examples = ", ".join(map(str, tables[:SHOWN])) + (", ..." if len(tables) > SHOWN else "")
        content = f"{len(tables)} tables ({examples}); unpack it and name one" if tables else "no table"
        raise DataError(f"{path} holds {content}. A table ends in {', '.join(FORMATS)}.")
    return str(tables[0])


def _is_table(name: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
    return not hidden and format_of(name) in FORMATS


def _stays_inside(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return ".." not in parts and not name.startswith(("/", "\\")) and ":" not in (parts[0] if parts else "")
