"""What tells one table from another at the same path: the names, sizes and content of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from commlearn.errors import DataError
from commlearn.storage.places import find_files, is_remote

ENDINGS = (".parquet", ".pq", ".tar")  # of a table's files where it is a folder
READ = (1 << 32, 1 << 26)  # bytes of a table that are looked at: here, and at a URL
BLOCK = 1 << 20  # bytes that are read together
SHOWN = 5  # differences in a message
SHORT = 16  # digits of a digest in a message


def fingerprint(source: str | Path) -> dict[str, str]:
    """Size and SHA-256 of each file of a table, by name.

    Of tables above 4 GiB (64 MiB at a URL) blocks are hashed that are spread evenly over each file, its end
    among them, where Parquet keeps the sizes and statistics of all columns. Files that cells point to are
    not looked at.

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
    described = {}
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
        described[Path(path).name] = f"{size} bytes, sha256 {digest.hexdigest()}"
    return described


def _starts(size: int, share: int) -> Iterator[int]:
    """Where the blocks of a file start of which `share` bytes are read.

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
    yield from (((size - BLOCK) * (place + 1)) // count for place in range(count))


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """In words what two fingerprints differ in; empty if in nothing.

    Example:
        >>> differences({"a.csv": "3 bytes, sha256 12"}, {"a.csv": "4 bytes, sha256 34", "b.csv": "0 bytes"})
        'a.csv was 3 bytes, sha256 12, and is 4 bytes, sha256 34; b.csv was not there, and is 0 bytes'
    """
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    shown = [
        f"{name} was {_short(before.get(name))}, and is {_short(now.get(name))}" for name in changed[:SHOWN]
    ]
    return "; ".join(shown) + (f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")


def _short(described: str | None) -> str:
    if described is None:
        return "not there"
    size, separator, digest = described.partition("sha256 ")
    return f"{size}{separator}{digest[:SHORT]}"
