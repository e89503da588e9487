"""How similar two records are in some modalities, and the vectors of a table's records in a file.

Likeness is a cosine, and the share of random pairs of records that are less similar. The file identifies its
model and table.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.preprocessing import StandardScaler

from commlearn.batch import Subset, subset_name
from commlearn.errors import DAMAGED, DataError, DataWarning, RunError
from commlearn.kinds.base import Cells
from commlearn.kinds.rows import Unreadable
from commlearn.probes.nearest import unit
from commlearn.probes.retrieval import comparable_vectors
from commlearn.records import Records
from commlearn.seeds import numpy_generator
from commlearn.storage.locks import atomic_file
from commlearn.storage.plain_files import plain_file
from commlearn.tables.schema import Schema
from commlearn.tables.splits import cell_keys
from commlearn.tables.table import Table
from commlearn.trained.artifact import TENSORS, to_parts
from commlearn.trained.embed import embed, naming_rows, rows_with_any
from commlearn.trained.model import Trained
from commlearn.trained.run_folder import FEATURES
from commlearn.trained.stream import chunk_rows

FORMAT = "1"
PARTS = ("center", "scale", "typical")  # arrays of a likeness, as they are named in a file
SAMPLE = 1000  # records of a table from which random pairs are taken
PAIRS = 4000  # random pairs, roughly
ALIKE = 0.95  # share of less similar random pairs from which records are called alike
UNLIKE = 0.5  # share below which they are called unlike
ROUNDING = 1e-5  # differences below this share of the embedding's size are rounding


@dataclass(frozen=True)
class Likeness:
    """A cosine between the modalities `by` of one record and `modalities` of another, with its calibration.

    If both sides have the same modalities, their embeddings are compared, each dimension standardised.
    Different ones are compared in the space in which training brought them together (`comparable_vectors`).
    """

    by: Subset  # modalities of the query
    modalities: Subset  # modalities of the candidates
    center: np.ndarray  # mean of the embeddings, (dim,); empty if the modalities differ
    scale: np.ndarray  # standard deviation of the embeddings, (dim,); empty if the modalities differ
    typical: np.ndarray  # cosines of random pairs, sorted; empty with fewer than two records

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"{subset_name(self.by)}:{subset_name(self.modalities)}"

    @classmethod
    def learn(cls, model: Any, records: Records, by: Subset, modalities: Subset) -> Likeness:
        """Calibrate on some records of a table, which must be in random order."""
        rows = np.intersect1d(rows_with_any(records, by), rows_with_any(records, modalities))
        records = records.choose(rows)
        empty = np.zeros(0)
        likeness = cls(by, modalities, center=empty, scale=empty, typical=empty)
        if by == modalities and len(rows):
            scaler = StandardScaler().fit(embed(model, records, by))
            size = np.maximum(np.abs(scaler.mean_), np.median(np.abs(scaler.mean_)))
            scale = np.where(scaler.scale_ > ROUNDING * size, scaler.scale_, 1.0)  # 1 if all are the same
            likeness = replace(likeness, center=scaler.mean_, scale=scale)
        if len(rows) < 2:
            return likeness
        queries = likeness.vectors(model, records, by)
        candidates = likeness.vectors(model, records, modalities)
        shifts = range(1, min(len(rows), 1 + -(-PAIRS // len(rows))))
        cosines = [(queries * np.roll(candidates, shift, axis=0)).sum(axis=1) for shift in shifts]
        return replace(likeness, typical=np.sort(np.concatenate(cosines)))

    def vectors(self, model: Any, records: Records, side: Subset) -> np.ndarray:
        """Return the vectors of records on one side, scaled to length 1, (records, dim) float32."""
        return self.normalised(raw_vectors(model, records, side, self.by == self.modalities))

    def normalised(self, vectors: np.ndarray) -> np.ndarray:
        """Standardise raw vectors if both sides have the same modalities, and scale them to length 1."""
        if len(self.center):
            vectors = (vectors - self.center) / self.scale
            lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
            vectors = np.where(lengths > 10 * ROUNDING, vectors, 0.0)
        return unit(vectors).astype(np.float32)

    def above(self, cosines: np.ndarray) -> np.ndarray:
        """Return the share of random pairs that are less similar; NaN without pairs or without a cosine.

        It is also NaN if all records are the same: then all vectors, and so all cosines, are zero.
        """
        if not self.typical.any():
            return np.full(len(cosines), np.nan)
        shares = np.searchsorted(self.typical, cosines) / len(self.typical)
        return np.where(np.isnan(cosines), np.nan, shares)


def raw_vectors(model: Any, records: Records, names: Subset, same: bool) -> np.ndarray:
    """Return vectors to compare with those of the same modalities, or of other ones, (records, dim)."""
    return embed(model, records, names) if same else comparable_vectors(model, records, names)


def in_words(above: dict[str, float]) -> str:
    """Say in words in which modalities two records are alike, and in which they are not.

    Args:
        above: share of random pairs that are less similar, by modality.

    Example:
        >>> in_words({"plot": 0.999, "poster": 0.3, "cast": 0.7, "year": float("nan")})
        'alike in plot; unlike in poster'
        >>> in_words({"plot": 0.9})
        'slightly alike in plot'
        >>> in_words({"plot": float("nan")})
        'nothing to compare'
    """
    names = [name for name, share in above.items() if share == share]
    alike = sorted((name for name in names if above[name] >= ALIKE), key=lambda name: -above[name])
    unlike = [name for name in names if above[name] < UNLIKE]
    parts = [f"alike in {', '.join(alike)}"] if alike else []
    if not alike and (best := max(names, key=lambda name: above[name], default=None)) not in (None, *unlike):
        parts = [f"slightly alike in {best}"]
    parts += [f"unlike in {', '.join(unlike)}"] if unlike else []
    return "; ".join(parts) or "nothing to compare"


@dataclass(frozen=True)
class Index:
    """Vectors of the records that have at least one of some modalities, and how to compare them."""

    rows: np.ndarray  # row numbers of the records in the table, (records,)
    vectors: np.ndarray  # vectors of length 1, (records, dim) float32
    whole: Likeness  # likeness in all of the modalities together, for which the vectors are computed
    each: dict[str, Likeness]  # likeness in each of the candidates' modalities, by name


def build(model: Trained, table: Table, by: Subset, modalities: Subset, tell: Callable[[str], None]) -> Index:
    """Embed a table's rows, chunk by chunk, and calibrate likeness on random pairs of them."""
    rows, parts = [], []
    unreadable = Unreadable(model.reader()[0].unreadable_limit)  # of the whole table, not of each chunk
    chunk = chunk_rows(model, modalities)
    for start in range(0, len(table), chunk):
        positions = np.arange(start, min(start + chunk, len(table)))
        records = records_of(model, table, positions, modalities, unreadable)
        unreadable.judge(at_end=False)
        present = rows_with_any(records, modalities)
        if len(present):
            cells = Cells(table.frame.iloc[positions[present]].reset_index(drop=True), table.root, start)
            with naming_rows(cells, model.reader()[0].id):
                parts.append(raw_vectors(model, records.choose(present), modalities, by == modalities))
            rows.append(positions[present])
        tell(f"embedded {positions[-1] + 1} of {len(table)} rows")
    unreadable.judge()
    if unreadable.entries:
        warnings.warn(DataWarning("; ".join(unreadable.lines())), stacklevel=2)
    if not rows:
        raise DataError(
            f"No row of the table has {' or '.join(modalities)}, so there is nothing to compare. Choose "
            "other modalities."
        )
    tell("comparing random pairs")
    sample_rows = numpy_generator(0, "search").permutation(len(table))[:SAMPLE]
    sample = records_of(model, table, sample_rows, (*by, *modalities))
    whole = Likeness.learn(model, sample, by, modalities)
    each = {name: Likeness.learn(model, sample, *_sides(by, name)) for name in modalities}
    vectors = np.concatenate([whole.normalised(part) for part in parts])
    return Index(np.concatenate(rows), vectors, whole, each)


def _sides(by: Subset, name: str) -> tuple[Subset, Subset]:
    """Compare a modality with itself if the query has it, otherwise with all modalities of the query."""
    return ((name,), (name,)) if name in by else (by, (name,))


def records_of(
    model: Trained, table: Table, rows: np.ndarray, names: Sequence[str], unreadable: Unreadable | None = None
) -> Records:
    """Return some rows of a table as records with these modalities, including rows that have none of them.

    Cells that cannot be read count as missing if the schema says so, however many; they are added to
    `unreadable`, if given.
    """
    cells = Cells(table.frame.iloc[rows].reset_index(drop=True), table.root, int(rows[0]) if len(rows) else 0)
    return model.records(cells, modalities=names, empty=True, unreadable=unreadable or Unreadable(100))


def model_identity(model: Trained) -> str:
    """Return a digest of everything that turns a table into vectors."""
    config, files = to_parts(replace(model, rows=None))  # the rows of its training change no vectors
    parts = (json.dumps(config, sort_keys=True).encode(), files[TENSORS], files.get(FEATURES, b""))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def table_identity(schema: Schema, table: Table, names: Sequence[str]) -> str:
    """Return a digest of the cells of some modalities, and of the size and date of the files they name."""
    schema = schema.only(names)
    columns = [column for column in schema.columns(with_targets=False) if column in table.frame]
    digest = hashlib.sha256(cell_keys(table.frame, columns).tobytes())
    for kind in schema.modalities.values():
        for column in kind.columns() if hasattr(kind, "outside") else ():  # its cells may name files
            for cell in table.frame[column].tolist() if column in table.frame else ():
                if isinstance(cell, str | Path):
                    digest.update(_state(table.root, cell))
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
        for part in PARTS:
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
                tensors = (file.get_tensor(f"{name}/{part}") for part in PARTS)
                return Likeness(query_side, candidate_side, *tensors)

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
