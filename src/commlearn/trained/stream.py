"""Embeddings of tables larger than memory, written to a file as they are computed."""

from __future__ import annotations

import csv
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from commlearn.batch import as_names
from commlearn.errors import ConfigurationError, DataError, DataWarning
from commlearn.escapes import spreadsheet_text
from commlearn.kinds.rows import Unreadable
from commlearn.methods import METHODS
from commlearn.storage.fingerprint import file_digest
from commlearn.storage.locks import atomic_file
from commlearn.storage.places import find_files, is_remote
from commlearn.tables.formats.reading import Reading
from commlearn.tables.table import Source, Table, iterate_table
from commlearn.trained.embed import (
    Blocks,
    dimension_names,
    embed_with_gaps,
    features_of,
    naming_rows,
    rows_with_any,
    warn_of_absent,
)
from commlearn.trained.model import Trained

CHUNK_BYTES = 1 << 27  # memory that one chunk's records take, roughly
ROWS = (512, 32_768)  # fewest and most rows of a chunk


@dataclass(frozen=True)
class Written:
    """Where embeddings were written, how many, and their dimension."""

    out: str
    records: int
    dim: int


def embed_table(
    model: Trained,
    source: Source,
    modalities: Sequence[str] | None = None,
    blocks: Blocks = "all",
) -> Iterator[tuple[Table, np.ndarray]]:
    """Yield the table chunk by chunk, each with its embeddings; only one chunk is in memory at a time.

    Args:
        model: a run or an artifact that was trained on a table.
        source: rows with the columns of the modalities.
        modalities: modalities to use; all that were trained if not given.
        blocks: which blocks of the embedding to compute.
    """
    modalities = as_names(modalities)
    columns, reading = model.columns(modalities=modalities)
    schema = model.reader()[0].only(modalities)
    rows = chunk_rows(model, schema.modalities)
    total, absent = 0, 0
    tables = map(model.at_root, iterate_table(source, rows, columns, reading))
    for table, vectors in embed_chunks(model, tables, modalities, blocks):
        total, absent = total + len(table), absent + int(np.isnan(vectors[:, 0]).sum())
        yield table, vectors
    refuse_all_absent(absent, total, schema.modalities)


def embed_chunks(
    model: Trained, tables: Iterable[Table], modalities: Sequence[str] | None, blocks: Blocks
) -> Iterator[tuple[Table, np.ndarray]]:
    """Yield each part of a table with its embeddings; the limit on unreadable cells counts all parts."""
    schema = model.reader()[0].only(modalities)
    unreadable = Unreadable(schema.unreadable_limit)
    for table in tables:
        records = model.records(table, False, modalities, modalities is not None, unreadable)
        unreadable.judge(at_end=False)
        positions = rows_with_any(records, modalities)
        with naming_rows(table, schema.id):
            yield table, embed_with_gaps(model, records, positions, modalities, blocks=blocks)
    unreadable.judge()
    if unreadable.entries:
        warnings.warn(DataWarning("; ".join(unreadable.lines())), stacklevel=2)


def refuse_all_absent(absent: int, records: int, modalities: Iterable[str]) -> None:
    """Warn if some rows have none of the modalities; refuse a table in which no row has any."""
    if absent == records:
        raise DataError(f"No row of the table has any of {', '.join(modalities)}. Choose others.")
    if absent:
        warn_of_absent(absent, records, list(modalities))


def write_embeddings(
    model: Trained,
    source: Source,
    out: str | Path,
    modalities: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
    blocks: Blocks = "all",
) -> Written:
    """Embed a table into a .parquet, .csv or .npz file, with the schema's id column if the table has it.

    Rows without any of the named modalities have no embedding and are left out. If the table has no id, a
    column `row` then tells which rows are in the file.

    The file appears only once it is complete and on disk.
    """
    features_of(model, blocks)  # refuses blocks that the model lacks, before anything is read
    refuse_input_as_output(source, out)
    schema, _ = model.reader()
    if schema.id is not None:
        check_ids(source, schema.id, schema.reading())

    def parts() -> Iterator[tuple[Mapping[str, np.ndarray], np.ndarray]]:
        rows = 0
        for table, vectors in embed_table(model, source, modalities, blocks):
            rows += len(vectors)
            tell(f"embedded {rows} rows")
            yield without_absent(table, schema.id, vectors, modalities)

    return write(out, parts(), lambda dim: dimension_names(model, dim, blocks))


def write(
    out: str | Path,
    parts: Iterator[tuple[Mapping[str, np.ndarray], np.ndarray]],
    names: Callable[[int], Sequence[str]],
    seal: Callable[[str, str], None] | None = None,
) -> Written:
    """Write columns and embeddings, part by part, to one file.

    Args:
        out: path that ends in .parquet, .csv or .npz.
        parts: columns by name, and embeddings (records, dim).
        names: returns the names of the embedding's columns, given their number; used by formats that have
            one column per dimension.
        seal: called with the file's name and its SHA-256 once it is complete, before it gets that name.
    """
    path = Path(out)
    if path.suffix not in WRITERS:
        raise ConfigurationError(f"{out}: give a file that ends in {', '.join(WRITERS)}.")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{out}: there is no folder {path.parent}. Make it first.")
    # with `seal`, the folder's list says which files are the library's
    if seal is None and path.exists() and not _holds_embeddings(path):
        raise ConfigurationError(
            f"{path} exists and does not hold embeddings written by commlearn. Give another out=, or move "
            "it away."
        )
    try:
        with atomic_file(path) as file:
            temporary = Path(file.name)
            writer: Any = WRITERS[path.suffix](temporary, names)
            try:
                count, dim = _add_all(writer, parts)
                writer.close()
            finally:
                with suppress(OSError):  # a full disk fails again here, and was already reported
                    writer.close()
            if seal is not None:
                seal(path.name, file_digest(temporary))
    except OSError as problem:
        raise DataError(
            f"Cannot write {out}: {problem}. Free some space or choose another folder."
        ) from problem
    except pa.ArrowException as problem:
        raise DataError(
            f"Cannot write {out}: the cells of a column are of several types ({problem}). Make all of them "
            "text, or write .csv."
        ) from problem
    return Written(str(out), count, dim)


def _add_all(writer: Any, parts: Iterator[tuple[Mapping[str, np.ndarray], np.ndarray]]) -> tuple[int, int]:
    """Write each part while the next is embedded; return the number of rows and of dimensions."""
    count, dim = 0, 0
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="commlearn-writes") as background:
        pending: Future[None] | None = None
        for columns, embedding in parts:
            if "embedding" in columns:
                raise DataError("The id column is named 'embedding', like that of the embeddings. Rename it.")
            if pending is not None:
                pending.result()
            pending = background.submit(writer.add, columns, embedding)
            count, dim = count + len(embedding), embedding.shape[1]
        if pending is not None:
            pending.result()
    return count, dim


def _holds_embeddings(path: Path) -> bool:
    try:
        if path.suffix == ".parquet":
            return "embedding" in pq.read_schema(path).names
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return "embedding.npy" in archive.namelist()
        with path.open(encoding="utf-8", newline="") as file:
            return _ends_in_dimensions(next(csv.reader(file), []))
    except (OSError, ValueError, csv.Error, zipfile.BadZipFile, pa.ArrowException):
        return False


def _ends_in_dimensions(columns: list[str]) -> bool:
    """Whether the last columns are dimensions of an embedding: comm0, comm1, ..., or fixed features.

    Example:
        >>> [_ends_in_dimensions(row) for row in (["id", "comm0", "comm1"], ["id", "price"], ["id", "x0"])]
        [True, False, False]
    """
    match = re.fullmatch(r"(.*\D)(\d+)", columns[-1]) if columns else None
    if match is None or len(columns) <= int(match[2]):
        return False
    count = int(match[2]) + 1
    if match[1] not in METHODS and not match[1].endswith("_feature"):
        return False
    return columns[-count:] == [f"{match[1]}{index}" for index in range(count)]


class _Parquet:
    """Writes one row group per part, with embeddings as fixed-size lists."""

    def __init__(self, path: Path, names: Callable[[int], Sequence[str]]) -> None:
        self.path = path
        self.writer: pq.ParquetWriter | None = None

    def add(self, columns: Mapping[str, np.ndarray], embedding: np.ndarray) -> None:
        arrays = {name: _cells(values) for name, values in columns.items()}
        fields = [pa.field(name, array.type) for name, array in arrays.items()]
        flat = pa.array(np.ascontiguousarray(embedding).reshape(-1))
        element = pa.field("element", flat.type, nullable=False)  # non-nullable numbers are written faster
        list_type = pa.list_(element, embedding.shape[1])
        vectors = pa.FixedSizeListArray.from_arrays(flat, type=list_type)
        schema = pa.schema([*fields, pa.field("embedding", list_type, nullable=False)])
        table = pa.table([*arrays.values(), vectors], schema=schema)
        if self.writer is None:
            options = {"use_dictionary": False, "compression": "none"}  # embeddings do not compress
            self.writer = pq.ParquetWriter(self.path, table.schema, **options)
        self.writer.write_table(table.cast(self.writer.schema))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _cells(values: np.ndarray) -> pa.Array:
    """Return a column as an Arrow array; cells of mixed types become text."""
    try:
        return pa.array(_listed(values), from_pandas=True)
    except pa.ArrowException:
        if values.dtype != object:
            raise
        empty = pd.isna(values)
        return pa.array([None if gap else str(value) for value, gap in zip(values, empty, strict=True)])


def _listed(values: np.ndarray) -> Any:
    """Return a column whose cells are lists if it has several values per row, as a target may have."""
    return values if values.ndim == 1 else values.tolist()


class _Csv:
    """Writes one column per dimension."""

    def __init__(self, path: Path, names: Callable[[int], Sequence[str]]) -> None:
        self.path, self.names, self.begun = path, names, False

    def add(self, columns: Mapping[str, np.ndarray], embedding: np.ndarray) -> None:
        vectors = pd.DataFrame(embedding, columns=list(self.names(embedding.shape[1])))
        cells = {name: _listed(values) for name, values in columns.items()}
        frame = pd.concat([pd.DataFrame(cells), vectors], axis=1)
        text_columns = [name for name in frame.columns if frame[name].dtype.kind == "O"]
        frame = frame.assign(**{name: frame[name].map(spreadsheet_text) for name in text_columns})
        has_returns = any(frame[name].astype(str).str.contains("\r").any() for name in text_columns)
        # QUOTE_MINIMAL treats "\r" as a plain character
        quoting = csv.QUOTE_NONNUMERIC if has_returns else csv.QUOTE_MINIMAL
        frame = frame.rename(columns=spreadsheet_text)
        frame.to_csv(self.path, mode="a", header=not self.begun, index=False, quoting=quoting)
        self.begun = True

    def close(self) -> None:
        pass


class _Arrays:
    """Keeps everything in memory until the end, as the format requires."""

    def __init__(self, path: Path, names: Callable[[int], Sequence[str]]) -> None:
        self.path = path
        self.parts: dict[str, list[np.ndarray]] = {}

    def add(self, columns: Mapping[str, np.ndarray], embedding: np.ndarray) -> None:
        for name, values in (*columns.items(), ("embedding", embedding)):
            self.parts.setdefault(name, []).append(values)

    def close(self) -> None:
        if not self.parts:
            return
        arrays = {name: _without_objects(np.concatenate(parts)) for name, parts in self.parts.items()}
        with self.path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        self.parts = {}


WRITERS: dict[str, type] = {".parquet": _Parquet, ".csv": _Csv, ".npz": _Arrays}


def _without_objects(values: np.ndarray) -> np.ndarray:
    """Convert objects to text, since they could only be stored as pickle."""
    if values.dtype != object:
        return values
    return np.array(["" if value is None else str(value) for value in values])


def chunk_rows(model: Trained, modalities: Iterable[str]) -> int:
    """Return the number of rows per chunk, which is smaller if records are large."""
    size = 0
    for spec in (model.specs[name] for name in modalities):
        if spec.kind == "image":
            size += math.prod(spec.shape)
        elif spec.kind in ("series", "audio"):
            size += 2048 * spec.shape[0]  # assuming 512 steps
        else:
            size += 1024 if spec.kind == "text" else 4 * sum(spec.shape)
    return int(np.clip(CHUNK_BYTES // max(size, 1), *ROWS))


def without_absent(
    table: Table, column: str | None, vectors: np.ndarray, modalities: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return ids and embeddings of rows that have one; if modalities are named, some rows may have none."""
    names = {} if column not in table.frame else {str(column): table.frame[column].to_numpy()}
    if modalities is None:
        return names, vectors
    names = names or {"row": table.first_row + np.arange(len(table))}
    present = ~np.isnan(vectors[:, 0])
    return {name: values[present] for name, values in names.items()}, vectors[present]


def check_ids(source: Source, column: str, reading: Reading) -> None:
    """Refuse duplicate ids before anything is embedded; needs eight bytes of memory per row."""
    try:
        chunks = [
            pd.util.hash_array(table.frame[column].to_numpy())
            for table in iterate_table(source, columns=[column], reading=reading)
        ]
    except DataError:
        return  # a table to embed need not have the column; reading it later reports any other problem
    hashes = np.concatenate(chunks)
    order = np.argsort(hashes, kind="stable")
    duplicates = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if len(duplicates):
        tables = iterate_table(source, columns=[column], reading=reading)
        ids = np.concatenate([table.frame[column].to_numpy() for table in tables])
        pairs = "; ".join(
            f"rows {first} and {second} ({ids[first]!s:.40})"
            for first, second in zip(order[duplicates[:10]], order[duplicates[:10] + 1], strict=True)
        )
        raise DataError(
            f"{column}: {len(duplicates)} ids occur more than once ({pairs}). Give each record its own id."
        )


def refuse_input_as_output(source: Source, out: str | Path) -> None:
    """Refuse to write over the input table, or into its folder, where the output would be read with it."""
    if not isinstance(source, str | Path) or is_remote(source) or not Path(source).exists():
        return
    files, path = find_files(source, (".parquet", ".pq", ".tar")).paths, Path(out)
    if any(path.exists() and path.samefile(file) for file in files):
        raise ConfigurationError(f"{out} is the table to embed. Give another out=.")
    folder = path.parent if path.suffix else path
    if Path(source).is_dir() and folder.exists() and folder.samefile(source):
        raise ConfigurationError(
            f"{out} would be among the files of the table {source}, and would be read with them. Give "
            "another out=."
        )
