"""The vectors of a table's records, stored in a file that identifies its model and table."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from commlearn.batch import Subset, subset_name
from commlearn.errors import DAMAGED, DataError, RunError
from commlearn.kinds.base import Cells
from commlearn.records import Records
from commlearn.search.likeness import SAMPLE, Likeness, has_any_modality, raw_vectors
from commlearn.seeds import numpy_generator
from commlearn.storage.locks import atomic_file
from commlearn.storage.plain_files import plain_file
from commlearn.tables.schema import Schema
from commlearn.tables.splits import cell_keys
from commlearn.tables.table import Table
from commlearn.trained.artifact import to_parts
from commlearn.trained.embed import naming_rows
from commlearn.trained.model import Trained
from commlearn.trained.stream import chunk_rows

FORMAT = "1"


@dataclass(frozen=True)
class Index:
    """Vectors of the records that have at least one of some modalities, and how to compare them.

    Args:
        rows: row numbers of the records in the table, (records,).
        vectors: vectors of length 1, (records, dim) float32.
        whole: likeness in all of the modalities together, for which the vectors are computed.
        each: likeness in each of the candidates' modalities, by name.
    """

    rows: np.ndarray
    vectors: np.ndarray
    whole: Likeness
    each: dict[str, Likeness]


def build(model: Trained, table: Table, by: Subset, modalities: Subset, tell: Callable[[str], None]) -> Index:
    """Embed a table's rows, chunk by chunk, and calibrate likeness on random pairs of them."""
    rows, parts = [], []
    chunk = chunk_rows({name: model.specs[name] for name in modalities})
    for start in range(0, len(table), chunk):
        positions = np.arange(start, min(start + chunk, len(table)))
        records = records_of(model, table, positions, (), modalities)
        present = np.flatnonzero(has_any_modality(records, modalities))
        if len(present):
            cells = Cells(table.frame.iloc[positions[present]].reset_index(drop=True), table.root, start)
            with naming_rows(cells, model.reader()[0].id):
                parts.append(raw_vectors(model, records.choose(present), modalities, by == modalities))
            rows.append(positions[present])
        tell(f"embedded {positions[-1] + 1} of {len(table)} rows")
    if not rows:
        raise DataError(
            f"No row of the table has {' or '.join(modalities)}, so there is nothing to compare. Choose "
            "other modalities."
        )
    tell("comparing random pairs")
    sample_rows = numpy_generator(0, "search").permutation(len(table))[:SAMPLE]
    sample = records_of(model, table, sample_rows, by, modalities)
    whole = Likeness.learn(model, sample, by, modalities)
    each = {name: Likeness.learn(model, sample, *_sides(by, name)) for name in modalities}
    return Index(
        np.concatenate(rows), np.concatenate([whole.normalised(part) for part in parts]), whole, each
    )


def _sides(by: Subset, name: str) -> tuple[Subset, Subset]:
    """Compare a modality with itself if the query has it, otherwise with all modalities of the query."""
    return ((name,), (name,)) if name in by else (by, (name,))


def records_of(
    model: Trained, table: Table, rows: np.ndarray, by: Sequence[str], modalities: Sequence[str]
) -> Records:
    """Return some rows of a table as records with these modalities, including rows that have none of them."""
    names = [name for name in model.specs if name in by or name in modalities]
    cells = Cells(table.frame.iloc[rows].reset_index(drop=True), table.root, int(rows[0]) if len(rows) else 0)
    return model.records(cells, modalities=names, empty=True)


def model_identity(model: Trained) -> str:
    """Return a digest of everything that turns a table into vectors."""
    config, tensors = to_parts(model)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode() + tensors)
    if model.features is not None:
        digest.update(model.features.to_bytes())
    return digest.hexdigest()


def table_identity(schema: Schema, table: Table, names: Sequence[str]) -> str:
    """Return a digest of the cells of some modalities, and of the size and date of the files they name."""
    schema = schema.only(names)
    columns = [column for column in schema.columns(with_targets=False) if column in table.frame]
    digest = hashlib.sha256(cell_keys(table.frame, columns).tobytes())
    for kind in schema.modalities.values():
        for column in kind.columns() if hasattr(kind, "outside") else ():  # its cells may name files
            for cell in table.frame[column].tolist() if column in table.frame else ():
                if isinstance(cell, str | Path) and (state := _state(table.root, cell)):
                    digest.update(state)
    return digest.hexdigest()


def _state(root: Path, cell: str | Path) -> bytes:
    try:
        state = os.stat(os.path.join(root, cell))
    except (OSError, ValueError):
        return b""
    return f"{state.st_size} {state.st_mtime_ns};".encode()


def file_name(where: str, by: Subset, modalities: Subset) -> str:
    """Return a file name that is unique for each table and each pair of sides."""
    words = json.dumps([where, by, modalities])
    return f"{hashlib.sha256(words.encode()).hexdigest()[:16]}.safetensors"


def write(path: Path, index: Index, identity: Mapping[str, str]) -> None:
    """Write the index to one file of tensors and strings, which cannot contain executable code.

    Raises:
        RunError: the file cannot be written.
    """
    tensors = {"rows": index.rows, "vectors": index.vectors}
    for likeness in (index.whole, *index.each.values()):
        for part in ("center", "scale", "typical"):
            tensors[f"{likeness.name}/{part}"] = np.ascontiguousarray(getattr(likeness, part))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(save(tensors, {"format": FORMAT, **identity}))
    except (OSError, SafetensorError) as problem:
        raise RunError(f"Cannot write the index {path}: {problem}.") from problem


def read(
    path: Path, identity: Mapping[str, str], by: Subset, modalities: Subset, records: int
) -> tuple[Index | None, str]:
    """Return the index in a file, or None with the reason why it cannot be used (empty if there is no file).

    Args:
        path: path of the file.
        identity: digests of the model and of the table that the index must belong to.
        by: modalities of the queries.
        modalities: modalities of the candidates.
        records: number of records in the table.
    """
    if not path.exists():
        return None, ""
    try:
        with safe_open(plain_file(path), framework="np") as file:
            metadata = dict(file.metadata() or {})
            if changed := [name for name, value in identity.items() if metadata.get(name) != value]:
                return None, f"the {' and the '.join(changed)} changed since the index was built"
            if metadata.get("format") != FORMAT:
                return None, "the index was built by another version"

            def likeness(query_side: Subset, candidate_side: Subset) -> Likeness:
                name = f"{subset_name(query_side)}:{subset_name(candidate_side)}"
                return Likeness(
                    query_side,
                    candidate_side,
                    *(file.get_tensor(f"{name}/{part}") for part in ("center", "scale", "typical")),
                )

            index = Index(
                file.get_tensor("rows"),
                file.get_tensor("vectors"),
                likeness(by, modalities),
                {name: likeness(*_sides(by, name)) for name in modalities},
            )
    except (*DAMAGED, OSError, SafetensorError) as problem:
        return None, f"the index is damaged ({str(problem).partition(chr(10))[0]:.80})"
    return (index, "") if _fits(index, records) else (None, "the index is damaged")


def _fits(index: Index, records: int) -> bool:
    """Return whether the parts of an index fit together, and fit a table with this number of records."""
    rows, vectors, center = index.rows, index.vectors, index.whole.center
    if rows.dtype != np.int64 or vectors.ndim != 2 or rows.shape != vectors.shape[:1] or not len(rows):
        return False
    return bool(rows.min() >= 0 and rows.max() < records) and center.shape in ((0,), vectors.shape[1:])
