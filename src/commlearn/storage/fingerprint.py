"""Digests of files: fingerprints that tell tables at the same path apart, and checksums of embeddings.

A fingerprint holds names, sizes and content of a table's files. The parts of a folder of embeddings are
compared with the checksums that were written with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from commlearn.errors import DataError
from commlearn.storage.places import find_files, is_remote
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import parse_json

ENDINGS = (".parquet", ".pq", ".tar")  # endings of a table's files, if the table is a folder
READ = (1 << 32, 1 << 26)  # most bytes of a table that are hashed: on this machine, and at a URL
BLOCK = 1 << 20  # bytes that are read at once
SHOWN = 5  # most differences in a message
SHORT = 16  # digits of a digest in a message


def fingerprint(source: str | Path) -> dict[str, str]:
    """Return the size and SHA-256 of each file of a table, by name.

    Up to 4 GiB (64 MiB at a URL) are hashed, an equal share of each file. Of a file that exceeds its share,
    only blocks spread evenly over it are hashed, including its end, where Parquet keeps the sizes and
    statistics of all columns. Files that cells refer to are not read.

    Args:
        source: path or URL of a table's file or folder.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rows.csv"
        >>> _ = path.write_text("a,b")
        >>> fingerprint(path)
        {'rows.csv': '3 bytes, sha256 1eb7c54d52831bbfe8942af0b1c56b7409523a59ed6ca99c1174fef7eb32c1b5'}
    """
    files = find_files(source, ENDINGS)
    share = max(READ[is_remote(source)] // len(files.paths), BLOCK)
    descriptions = {}
    for path in files.paths:
        digest = hashlib.sha256()
        try:
            size = files.size(path)
            with files.filesystem.open_input_file(path) as file:
                for start in _starts(size, share):
                    file.seek(start)
                    digest.update(file.read(min(BLOCK, size - start)))
        except (OSError, pa.ArrowException) as problem:
            raise DataError(f"{path} cannot be read: {problem}.") from problem
        descriptions[Path(path).name] = f"{size} bytes, sha256 {digest.hexdigest()}"
    return descriptions


def _starts(size: int, share: int) -> Iterator[int]:
    """Yield the starts of the blocks to read, `share` bytes in total, from a file of `size` bytes.

    Example:
        >>> list(_starts(3 * BLOCK + 1, 4 * BLOCK)) == [0, BLOCK, 2 * BLOCK, 3 * BLOCK]
        True
        >>> list(_starts(9 * BLOCK, 2 * BLOCK)) == [4 * BLOCK, 8 * BLOCK]
        True
    """
    if size <= share:
        yield from range(0, size, BLOCK)
        return
    count = share // BLOCK
    yield from (((size - BLOCK) * (index + 1)) // count for index in range(count))


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return the differences between two fingerprints in words; empty if there are none.

    Example:
        >>> differences({"a.csv": "3 bytes, sha256 12"}, {"a.csv": "4 bytes, sha256 34", "b.csv": "0 bytes"})
        'a.csv was 3 bytes, sha256 12, and is now 4 bytes, sha256 34; b.csv was not there, and is now 0 bytes'
    """
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    examples = [
        f"{name} was {_short(before.get(name))}, and is now {_short(now.get(name))}"
        for name in changed[:SHOWN]
    ]
    return "; ".join(examples) + (f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")


def _short(description: str | None) -> str:
    if description is None:
        return "not there"
    size, separator, digest = description.partition("sha256 ")
    return f"{size}{separator}{digest[:SHORT]}"


LIST = "files.json"  # list of the files that the library wrote into a folder
EMBEDDINGS = "folder of embeddings"  # what that list calls the folder
PLAN = "plan.json"  # description of what the embeddings were made from
PART = "part-*.parquet"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_parts(paths: Sequence[str | Path], whole: bool) -> None:
    """Check that files of a folder of embeddings are as they were written; other files are ignored.

    Args:
        paths: files of one folder.
        whole: whether the whole folder is read, not single files of it; then missing parts are refused, too.
    """
    folder = Path(paths[0]).parent
    sums = _checksums(folder / LIST)
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


def _checksums(path: Path) -> dict[str, str]:
    """Return each expected part's checksum, "" if it has none; nothing if no embeddings are listed there."""
    try:
        stored = parse_json(plain_file(path).read_text(encoding="utf-8"))
    except OSError:
        return {}
    except ValueError as problem:
        if not path.with_name(PLAN).exists():  # the file is not ours
            return {}
        raise DataError(f"{path} is damaged: it is not JSON. Embed into another folder.") from problem
    if not isinstance(stored, dict) or stored.get("commlearn") != EMBEDDINGS:
        return {}
    names, sums = stored.get("files"), stored.get("sha256", {})
    if not isinstance(names, list) or not isinstance(sums, dict):
        raise DataError(f"{path} is damaged: it lists no files. Embed into another folder.")
    return {name: str(sums.get(name, "")) for name in names if Path(str(name)).match(PART)}
