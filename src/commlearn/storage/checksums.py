"""Parts of a folder of embeddings, compared with the checksums that were written with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from commlearn.errors import DataError
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import parse_json

LIST = "files.json"  # of a folder's files that the library wrote
EMBEDDINGS = "folder of embeddings"  # what that list says the folder is
PLAN = "plan.json"  # what embeddings were made of
PART = "part-*.parquet"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_parts(paths: Sequence[str | Path], whole: bool = False) -> None:
    """Refuse files of a folder of embeddings that are not as they were written; others are not looked at.

    Args:
        paths: files of one folder.
        whole: the folder is read, not a file of it: refuse one in which parts are missing.
    """
    folder = Path(paths[0]).parent
    sums = _checksums(folder / LIST)
    if sums is None:
        return
    missing = [name for name in sorted(sums) if whole and not (folder / name).exists()]
    if missing:
        raise DataError(
            f"{folder} is not whole: {len(missing)} of {len(sums)} parts are missing, such as {missing[0]}. "
            "Run the same `embed` again, which goes on where it stopped."
        )
    for path in map(Path, paths):
        if path.name in sums:
            check_part(path, sums[path.name])


def check_part(path: Path, digest: str) -> None:
    """Refuse a part whose content is not what was written."""
    if not digest or cached_digest(path) != digest:
        raise DataError(
            f"{path} is not what was written there: its content does not match its checksum. Delete it, and "
            "run the same `embed` again, which writes what is missing."
        )


def cached_digest(path: Path) -> str:
    """The same, read again only if the file's size or time of change differs."""
    state = path.stat()
    return _digest_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest_of(path: Path, size: int, changed: int) -> str:
    return file_digest(path)


def _checksums(path: Path) -> dict[str, str] | None:
    """The checksum of each part that a folder should have, empty where it has none; None in other folders."""
    try:
        stored = parse_json(plain_file(path).read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as problem:
        if not path.with_name(PLAN).exists():  # it is somebody else's
            return None
        raise DataError(f"{path} is damaged: it is not JSON. Embed into another folder.") from problem
    if not isinstance(stored, dict) or stored.get("commlearn") != EMBEDDINGS:
        return None
    names, sums = stored.get("files"), stored.get("sha256", {})
    if not isinstance(names, list) or not isinstance(sums, dict):
        raise DataError(f"{path} is damaged: it lists no files. Embed into another folder.")
    return {name: str(sums.get(name, "")) for name in names if Path(str(name)).match(PART)}
