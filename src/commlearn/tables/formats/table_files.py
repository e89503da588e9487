"""The file formats of tables, read as chunks of pandas rows with the types of the whole file.

JSON lines, Feather, .xlsx and tar files are read here; `FORMATS` has all formats by ending. A table in a .zip
is unpacked to a folder that lasts as long as the process.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import stat
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from commlearn.errors import DAMAGED, ConfigurationError, DataError, DataWarning
from commlearn.kinds.rows import is_empty
from commlearn.storage.places import find_files, is_remote
from commlearn.storage.plain_files import check_unpacked, plain_file, read_npy
from commlearn.storage.plain_json import parse_json
from commlearn.tables.formats.csv_files import CODE, read_csv
from commlearn.tables.formats.parquet_files import EXACT, INDEX, ParquetTable, arrow_to_pandas
from commlearn.tables.formats.reading import (
    Frames,
    Reader,
    Reading,
    chosen_columns,
    one_name_each,
    open_text,
    read_decoded,
)

LONG = np.int64  # stands for whole numbers that floats cannot hold exactly
NUMBERS = (int, LONG, float)
MERGED = re.compile(rb'<mergeCell ref="(?P<range>[A-Z]+(?P<top>[0-9]+):[A-Z]+(?P<bottom>[0-9]+))"')
DAMAGED_BOOK = (*DAMAGED, OSError, SyntaxError, zipfile.BadZipFile, NotImplementedError, MemoryError)


def _json_lines(path: Path, rows: int, columns: Sequence[str] | None, reading: Reading) -> Frames:
    types: dict[str, set[type]] = defaultdict(set)
    occurrences: Counter[str] = Counter()
    count = 0
    for record in _objects(path, reading.encoding):
        count += 1
        occurrences.update(record.keys())
        for name, value in record.items():
            types[name].add(_type(value, name in reading.names))
    for name, number in occurrences.items():
        if number < count:
            types[name].add(type(None))
    names = chosen_columns(list(types), columns, str(path)) if count else []
    records = _objects(path, reading.encoding)
    while part := list(itertools.islice(records, rows or count)):
        yield pd.DataFrame({name: _column([row.get(name) for row in part], types[name]) for name in names})


def _column(values: list[Any], kinds: set[type]) -> pd.Series:
    """Return one column with the type that fits its cells in the whole file."""
    if kinds <= {*NUMBERS, type(None)} and kinds != {type(None)}:
        if LONG in kinds and kinds <= {int, LONG, type(None)}:
            return pd.Series(pd.array(values, dtype="Int64"))
        if kinds == {int}:
            return pd.Series(np.array(values, dtype=np.int64))
        return pd.Series(np.array([_as_float(value) for value in values]))
    column = np.fromiter(values, dtype=bool if kinds == {bool} else object, count=len(values))
    return pd.Series(column, dtype="str" if kinds <= {str, type(None)} else None)


def _type(value: Any, is_name: bool) -> type:
    """Return the type of one cell; a whole number beyond 64 bits is a float, unless it is a name."""
    if type(value) is not int or -EXACT <= value <= EXACT:
        return type(value)
    if -(1 << 63) <= value < 1 << 63:
        return LONG
    return object if is_name else float


def _as_float(value: float | None) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.inf if value and value > 0 else -math.inf


def _objects(path: Path, encoding: str) -> Iterator[dict[str, Any]]:
    line, number = "", 0
    try:
        with open_text(path, encoding) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                record = parse_json(line)
                if not isinstance(record, dict):
                    raise DataError(f"{path}, line {number}: {line.strip()[:60]} is not an object {{...}}.")
                yield record
    except UnicodeError:
        raise
    except ValueError as problem:
        raise DataError(f"{path}, line {number} is not JSON ({problem}): {line.strip()[:60]!r}") from problem


def _feather(path: Path, rows: int, columns: Sequence[str] | None, reading: Reading) -> Frames:
    try:
        table = feather.read_table(plain_file(path), memory_map=False)
    except pa.ArrowException as problem:
        raise DataError(f"{path} cannot be read: {problem}. Is it cut off?") from problem
    one_name_each(table.column_names, str(path))
    names = [name for name in table.column_names if not name.startswith(INDEX)]
    table = table.select(chosen_columns(names, columns, str(path)))
    return slices(arrow_to_pandas(table), rows)


def _excel(path: Path, rows: int, columns: Sequence[str] | None, reading: Reading) -> Frames:
    """Read the first sheet that is not empty; a warning names the others that are not."""
    if find_spec("openpyxl") is None:
        raise ConfigurationError(f"{path} needs openpyxl: pip install 'commlearn[excel]'. Or save it as CSV.")
    try:
        with zipfile.ZipFile(plain_file(path)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        check_unpacked(str(path), size, path.stat().st_size)
        with pd.ExcelFile(path, engine="openpyxl") as book:
            types: dict[str, Any] = defaultdict(lambda: object, dict.fromkeys(reading.names, str))
            options = {"keep_default_na": False, "na_values": [""], "dtype": types}
            sheets = {name: pd.read_excel(book, sheet_name=name, **options) for name in book.sheet_names}
            filled = {name: sheet for name, sheet in sheets.items() if len(sheet)}
            header = {"sheet_name": next(iter(filled), 0), "header": None, "nrows": 1}
            header_cells = pd.read_excel(book, **{**options, **header, "dtype": object}).to_numpy().ravel()
            for sheet in list(filled)[:1]:
                _warn_of_merged_cells(path, sheet, book.book[sheet]._worksheet_path)
    except DAMAGED_BOOK as problem:
        raise DataError(f"{path} cannot be read as .xlsx: {problem}. Save it again, or as CSV.") from problem
    # pandas renames a second `name` to `name.1`
    one_name_each([str(cell) for cell in header_cells if not is_empty(cell)], str(path))
    if len(filled) > 1:
        first, *others = filled
        message = f"{path}: only sheet '{first}' is read, not {', '.join(map(repr, others))}"
        warnings.warn(DataWarning(message), stacklevel=2)
    frame = next(iter(filled.values()), pd.DataFrame()).rename(columns=str).apply(_infer_type)
    names = list(frame.columns)
    one_name_each(names, str(path))
    return slices(frame[chosen_columns(names, columns, str(path))] if len(frame) else frame, rows)


def _warn_of_merged_cells(path: Path, sheet: str, member: str) -> None:
    """Warn of cells merged over several rows, such as a patient's: only their first row has the value."""
    with zipfile.ZipFile(path) as archive:
        ranges = MERGED.finditer(archive.read(member.lstrip("/")))
    merged = [cells["range"].decode() for cells in ranges if cells["top"] != cells["bottom"]]
    if merged:
        cells = f"merged cells of sheet '{sheet}', such as {merged[0]},"
        message = f"{path}: {cells} are empty in all rows but their first"
        warnings.warn(DataWarning(f"{message}. Fill in the value in each row"), stacklevel=3)


def _infer_type(column: pd.Series) -> pd.Series:
    """Give a sheet's column the type of its cells; numbers as text become numbers, unless one is a code."""
    texts = [cell for cell in column if isinstance(cell, str)] if column.dtype == object else []
    if texts and not any(re.fullmatch(CODE, text) for text in texts):
        with suppress(ValueError, TypeError):
            return pd.to_numeric(column)
    return column.infer_objects()


KEY = "key"  # column of the names of a tar file's records
BROKEN_TAR = (*DAMAGED, tarfile.TarError, OSError, MemoryError)


class TarTable:
    """WebDataset: the records of one tar file or of all in a folder; each file is one group of rows.

    Members with the same name form one record: `0001.jpg`, `0001.txt` and `0001.json` are the cells `jpg`,
    `txt` and `json.KEY` of the record whose column `key` is `0001`. Text, whole numbers (`cls`), JSON and
    .npy arrays are parsed; all else stays bytes, from which images and audio are read. Nothing is unpickled.
    """

    def __init__(self, source: str | Path) -> None:
        self.files = find_files(source, (".tar",))
        self.root = self.files.root
        self.endings: set[str] = set()  # endings of the cells of all records
        self.sizes = [self._count(path) for path in self.files.paths]

    def chunks(self, rows: int, columns: Sequence[str] | None) -> Frames:
        """Yield the table in chunks of at most `rows` rows; 0 yields it as one chunk."""
        only_keys = columns is not None and set(columns) == {KEY}  # member names are enough for these
        frames = (self._frame(path, only_keys) for path in self.files.paths)
        if not rows:
            table = pd.concat(list(frames), ignore_index=True)
            yield table[chosen_columns(list(table), columns, self.files.label)]
            return
        for frame in frames:
            yield from slices(self._select(frame, columns), rows)

    def read(self, group: int, columns: Sequence[str] | None) -> pd.DataFrame:
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
        with self._open(path) as tar:
            cells = [_split_name(member.name) for member in tar if self._is_cell(path, member)]
        self.endings |= {ending for _, ending in cells}
        return len({key for key, _ in cells})

    def _frame(self, path: str, only_keys: bool = False) -> pd.DataFrame:
        records: dict[str, dict[str, Any]] = {}
        with self._open(path) as tar:
            for member in tar:
                file = tar.extractfile(member) if self._is_cell(path, member) else None
                if file is not None:
                    key, ending = _split_name(member.name)
                    record = records.setdefault(key, {KEY: key})
                    try:
                        record.update({} if only_keys else _cells(ending, file.read()))
                    except ValueError as problem:
                        raise DataError(f"{path}, {member.name}: {problem}. Is it cut off?") from problem
            return pd.DataFrame(list(records.values()))  # refuses names that are not valid text

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
            header = f"its header says {member.size:,} bytes"
            raise DataError(f"{path}, {member.name}: {header}, but only {available:,} are left.")
        return True

    @contextmanager
    def _open(self, path: str) -> Iterator[tarfile.TarFile]:
        try:
            with tarfile.open(fileobj=self.files.filesystem.open_input_file(path), mode="r:") as tar:
                yield tar
        except BROKEN_TAR as problem:
            raise DataError(f"{path} cannot be read as tar: {problem}. Is it cut off?") from problem


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
    if sort in ("txt", "text", "caption"):
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


def slices(frame: pd.DataFrame, rows: int) -> Frames:
    """Return the table in chunks of at most `rows` rows; 0 returns it as one chunk."""
    step = rows or len(frame) or 1
    return (frame.iloc[start : start + step] for start in range(0, len(frame), step))


FORMATS: dict[str, Reader] = {
    **dict.fromkeys(
        (".parquet", ".pq"), lambda path, rows, columns, _: ParquetTable(path).chunks(rows, columns)
    ),
    **dict.fromkeys((".csv", ".tsv"), partial(read_decoded, read_csv)),
    **dict.fromkeys((".jsonl", ".ndjson"), partial(read_decoded, _json_lines)),
    ".tar": lambda path, rows, columns, _: TarTable(path).chunks(rows, columns),
    ".feather": _feather,
    ".xlsx": _excel,
}


def format_of(path: PurePath) -> str:
    """Return the lower-case ending of a table's files; it is not in `FORMATS` if they cannot be read.

    Example:
        >>> format_of(Path("a.CSV.gz")), format_of(Path("a.parquet.gz"))
        ('.csv', '.parquet.gz')
    """
    if isinstance(path, Path) and path.is_dir():
        endings = {file.suffix.lower() for file in path.glob("*")}
        return ".tar" if ".tar" in endings and ".parquet" not in endings else ".parquet"
    ending, inner = path.suffix.lower(), PurePath(path.stem).suffix.lower()
    if ending != ".gz":
        return ending
    return inner if inner in (".csv", ".tsv", ".jsonl", ".ndjson") else inner + ending


GroupedTable: TypeAlias = ParquetTable | TarTable  # each group of rows can be read separately


def open_groups(source: str) -> GroupedTable:
    """Open Parquet or tar files, local or at a URL, whose rows can be read in groups."""
    path, remote = Path(source), is_remote(source)
    if not (path.exists() or remote):
        raise DataError(f"There is no table {source}. Check the path.")
    ending = format_of(path)
    if not (remote or ending in (".parquet", ".pq", ".tar")):
        raise ConfigurationError(
            f"{source} cannot be read in parts: its rows are not stored in groups. Write it as Parquet, or "
            "embed it to a single output file ending in .parquet, .csv or .npz."
        )
    table = TarTable(source) if ending == ".tar" else ParquetTable(source)
    if not sum(table.sizes):
        raise DataError(f"{source} has no rows. Give a table with at least one record.")
    return table


BROKEN_ZIP = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError)
SHOWN = 5  # tables in a .zip listed in a message, at most


def table_in_zip(path: Path) -> Path:
    """Return the path of the archive's only table, unpacked with all other files, once per process."""
    status = plain_file(path).stat()
    folder = _unpacked(str(path), status.st_size, status.st_mtime_ns)
    return Path(folder.name) / _only_table(path)


@cache  # cells name the unpacked files as long as the process lives
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
    except BROKEN_ZIP as problem:
        raise DataError(f"{path} cannot be unpacked: {problem}. Is it cut off?") from problem
    return folder


def _only_table(path: Path) -> str:
    """Return the only table at the highest level; .csv files in folders below may be named by cells."""
    with zipfile.ZipFile(path) as archive:
        names = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
    shown = [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.parts)]
    tables = [name for name in shown if format_of(name) in FORMATS]
    depth = min((len(name.parts) for name in tables), default=0)
    tables = [name for name in tables if len(name.parts) == depth]
    if len(tables) != 1:
        examples = ", ".join(map(str, tables[:SHOWN])) + (", ..." if len(tables) > SHOWN else "")
        content = f"{len(tables)} tables ({examples}); unpack it and name one" if tables else "no table"
        raise DataError(f"{path} holds {content}. A table ends in {', '.join(FORMATS)}.")
    return str(tables[0])


def _stays_inside(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return ".." not in parts and not name.startswith(("/", "\\")) and ":" not in (parts[0] if parts else "")
