"""Fingerprints that tell tables at the same path apart: names, sizes and content of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from commlearn.errors import DataError
from commlearn.storage.places import find_files, is_remote

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
