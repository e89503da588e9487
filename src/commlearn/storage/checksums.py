"""Comparison of the parts of a folder of embeddings with the checksums that were written with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from commlearn.errors import DataError
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import parse_json

LIST = "files.json"  # list of the files that the library wrote into a folder
EMBEDDINGS = "folder of embeddings"  # what that list calls the folder
PLAN = "plan.json"  # description of what the embeddings were made from
PART = "part-*.parquet"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_parts(paths: Sequence[str | Path], whole: bool = False) -> None:
    """Check that files of a folder of embeddings are as they were written; other files are ignored.

    Args:
        paths: files of one folder.
        whole: whether the whole folder is read, not single files of it; then missing parts are refused, too.
    """
    folder = Path(paths[0]).parent
    sums = _checksums(folder / LIST)
    if sums is None:
        return
    missing = [name for name in sorted(sums) if whole and not (folder / name).exists()]
    if missing:
        raise DataError(
            f"{folder} is incomplete: {len(missing)} of {len(sums)} parts are missing, such as {missing[0]}. "
            "Run the same `embed` again; it continues where it stopped."
        )
    for path in map(Path, paths):
        if path.name in sums:
            check_part(path, sums[path.name])


def check_part(path: Path, digest: str) -> None:
    """Check that the content of a part is what was written."""
    if not digest or cached_digest(path) != digest:
        raise DataError(
            f"{path} is damaged or was changed: its content does not match its checksum. Delete it, and run "
            "the same `embed` again; it writes what is missing."
        )


def cached_digest(path: Path) -> str:
    """Return a file's SHA-256, read again only if its size or modification time differs."""
    state = path.stat()
    return _digest_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest_of(path: Path, size: int, modified: int) -> str:
    return file_digest(path)


def _checksums(path: Path) -> dict[str, str] | None:
    """Return each expected part's checksum ("" if it has none); None if no embeddings are listed there."""
    try:
        stored = parse_json(plain_file(path).read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as problem:
        if not path.with_name(PLAN).exists():  # the file is not ours
            return None
        raise DataError(f"{path} is damaged: it is not JSON. Embed into another folder.") from problem
    if not isinstance(stored, dict) or stored.get("commlearn") != EMBEDDINGS:
        return None
    names, sums = stored.get("files"), stored.get("sha256", {})
    if not isinstance(names, list) or not isinstance(sums, dict):
        raise DataError(f"{path} is damaged: it lists no files. Embed into another folder.")
    return {name: str(sums.get(name, "")) for name in names if Path(str(name)).match(PART)}
