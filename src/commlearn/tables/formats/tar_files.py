"""WebDataset shards as one table: members of a tar file with the same name form one record.

`0001.jpg`, `0001.txt` and `0001.json` are the cells `jpg`, `txt` and `json.KEY` of the record whose column
`key` is `0001`. Text, whole numbers (`cls`), JSON and .npy arrays are parsed; everything else stays bytes,
from which images and audio are read. Nothing is unpickled.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from commlearn.errors import DAMAGED, DataError
from commlearn.storage.places import find_files
from commlearn.storage.plain_files import read_npy
from commlearn.storage.plain_json import parse_json
from commlearn.tables.formats.parquet_files import chosen_columns

KEY = "key"
TEXTS = ("txt", "text", "caption")
BROKEN = (*DAMAGED, tarfile.TarError, OSError, MemoryError)


class TarTable:
    """The records of one tar file or of all tar files in a folder; each file is one group of rows."""

    def __init__(self, source: str | Path) -> None:
        self.files = find_files(source, (".tar",))
        self.endings: set[str] = set()  # endings of the cells of all records
        self.sizes = [self._count(path) for path in self.files.paths]

    @property
    def root(self) -> Path:
        return self.files.root

    def chunks(self, rows: int, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
        """Yield the table in chunks of at most `rows` rows; 0 yields it as one chunk."""
        only_keys = columns is not None and set(columns) == {KEY}  # member names are enough for these
        frames = (self._frame(path, only_keys) for path in self.files.paths)
        if not rows:
            table = pd.concat(list(frames), ignore_index=True)
            yield table[chosen_columns(list(table), columns, self.files.label)]
            return
        for frame in frames:
            frame = self._select(frame, columns)
            for start in range(0, len(frame), rows):
                yield frame.iloc[start : start + rows]

    def read(self, group: int, columns: Sequence[str] | None) -> pd.DataFrame:
        """Return the records of one file."""
        return self._select(self._frame(self.files.paths[group]), columns)

    def _select(self, frame: pd.DataFrame, columns: Sequence[str] | None) -> pd.DataFrame:
        """Select columns of one file's records; columns that only records of other files have are empty."""
        missing = {name: None for name in columns or () if name not in frame and self._holds(name)}
        frame = frame.assign(**missing)
        return frame[chosen_columns(list(frame), columns, self.files.label)]

    def _holds(self, column: str) -> bool:
        """Whether any file may have this column, judging by member names."""
        prefixes = (ending for ending in self.endings if ending.endswith("json"))
        return column in self.endings or any(column.startswith(f"{prefix}.") for prefix in prefixes)

    def _count(self, path: str) -> int:
        """Count the records of a file by the names of its members alone."""
        try:
            with self._open(path) as tar:
                cells = [_split_name(member.name) for member in tar if self._is_cell(path, member)]
            self.endings |= {ending for _, ending in cells}
            return len({key for key, _ in cells})
        except BROKEN as problem:
            raise DataError(f"{path} cannot be read as tar: {problem}. Is it cut off?") from problem

    def _frame(self, path: str, only_keys: bool = False) -> pd.DataFrame:
        records: dict[str, dict[str, Any]] = {}
        try:
            with self._open(path) as tar:
                for member in tar:
                    file = tar.extractfile(member) if self._is_cell(path, member) else None
                    if file is not None:
                        key, ending = _split_name(member.name)
                        record = records.setdefault(key, {KEY: key})
                        if only_keys:
                            continue
                        try:
                            record.update(_cells(ending, file.read()))
                        except ValueError as problem:
                            raise DataError(f"{path}, {member.name}: {problem}. Is it cut off?") from problem
            return pd.DataFrame(list(records.values()))
        except BROKEN as problem:
            raise DataError(f"{path} cannot be read as tar: {problem}. Is it cut off?") from problem

    def _is_cell(self, path: str, member: tarfile.TarInfo) -> bool:
        """Whether a member is a file that is not hidden; raise an error if it is sparse or cut off."""
        if not member.isfile() or PurePosixPath(member.name).name.startswith("."):
            return False
        available = self.files.size(path) - member.offset_data
        if member.issparse():
            raise DataError(
                f"{path}, {member.name} is sparse: it unpacks to {member.size:,} bytes, most of them never "
                "written. Pack it again without --sparse."
            )
        if member.size > available:
            raise DataError(
                f"{path}, {member.name}: its header says {member.size:,} bytes, but only {available:,} are "
                "left."
            )
        return True

    def _open(self, path: str) -> tarfile.TarFile:
        return tarfile.open(fileobj=self.files.filesystem.open_input_file(path), mode="r:")


def _split_name(name: str) -> tuple[str, str]:
    """Split a member's name into the record's key and the name of the cell.

    Example:
        >>> _split_name("a/0001.left.jpg")
        ('a/0001', 'left.jpg')
    """
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return str(path.with_name(stem)), ending.lower()


def _cells(ending: str, content: bytes) -> dict[str, Any]:
    """Return the cells that one member holds, by column."""
    sort = ending.rpartition(".")[2]
    if sort in TEXTS:
        return {ending: content.decode("utf-8")}
    if sort == "cls":
        return {ending: int(content)}
    if sort == "npy":
        return {ending: read_npy(io.BytesIO(content))}
    if sort == "json":
        values = parse_json(content)
        entries = values if isinstance(values, dict) else {"": values}
        return {f"{ending}.{name}".rstrip("."): value for name, value in entries.items()}
    return {ending: content}
