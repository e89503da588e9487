"""Embeddings of a large table as a folder of files, written one by one, by one process or several."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from commlearn.errors import ConfigurationError, DataError
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.file_list import FileList
from commlearn.storage.fingerprint import EMBEDDINGS, PLAN, check_part, differences, fingerprint
from commlearn.storage.locks import hold
from commlearn.storage.plain_files import plain_file
from commlearn.storage.plain_json import json_text, parse_json
from commlearn.tables.formats.table_files import GroupedTable, open_groups
from commlearn.tables.table import Table
from commlearn.trained.embed import Blocks, dimension_names, features_of
from commlearn.trained.model import Trained
from commlearn.trained.stream import (
    Written,
    check_ids,
    chunk_rows,
    embed_chunks,
    refuse_all_absent,
    refuse_input_as_output,
    without_absent,
    write,
)

FORMAT = 2
ROWS = 65_536  # most rows of a file, unless a single group of rows has more


def write_shards(
    model: Trained,
    source: str | Path,
    out: str | Path,
    modalities: Sequence[str] | None = None,
    rank: int = 0,
    ranks: int = 1,
    tell: Callable[[str], None] = lambda line: None,
    blocks: Blocks = "all",
) -> Written:
    """Embed Parquet or tar files into `part-00000.parquet` and so on, in the table's order.

    A file appears once it is complete and on disk. Existing files are kept after their checksums were
    verified, so that a stopped call can be continued. A folder of another model, table or choice of
    modalities is refused, even if the other table has the same path.

    Args:
        model: a run or an artifact that was trained on a table.
        source: a file or folder, or its URL.
        out: output folder; made if needed.
        modalities: modalities to use; all that were trained if not given.
        rank: number of this process, which writes every `ranks`-th file.
        ranks: number of processes that share the work. They need not communicate.
        tell: called with a line about each file that was written.
        blocks: which blocks of the embedding to compute.
    """
    features = features_of(model, blocks)
    refuse_input_as_output(source, out)
    table, schema = open_groups(str(source)), model.reader()[0]
    shards = list(_shards(table.sizes))
    paths = [Path(out) / f"part-{number:05}.parquet" for number in range(len(shards))]
    plan: dict[str, Any] = {
        "format": FORMAT,
        "data": fingerprint(source),
        "rows": [sum(table.sizes[group] for group in groups) for groups in shards],
        "modalities": list(modalities or schema.modalities),
        "model": weights_digest(model.method),
    }
    if features is not None or blocks != "all":
        plan |= {"blocks": blocks, "features": None if features is None else weights_digest(features)}
    files = FileList(Path(out), kind=EMBEDDINGS)
    if schema.id is not None and not (files.folder / PLAN).exists():
        check_ids(source, schema.id, schema.reading())
    records, dim = 0, 0
    with _opened(files, plan, paths, alone=ranks == 1):
        for number in range(rank, len(shards), ranks):
            path = paths[number]
            if path.exists():
                check_part(path, files.checksums().get(path.name, ""))
            else:
                chunks = map(model.at_root, _chunks(model, table, shards[number], modalities))
                parts = (
                    without_absent(chunk, schema.id, vectors, modalities)
                    for chunk, vectors in embed_chunks(model, chunks, modalities, blocks)
                )
                write(path, parts, lambda dim: dimension_names(model, dim, blocks), files.seal)
                tell(f"wrote {path.name}, {number + 1} of {len(shards)}")
            metadata = pq.read_metadata(path)
            records += metadata.num_rows
            dim = metadata.schema.to_arrow_schema().field("embedding").type.list_size
    rows = sum(plan["rows"][rank::ranks])
    if ranks == 1 or records:  # one of several ranks may have no row with any of them
        refuse_all_absent(rows - records, rows, plan["modalities"])
    return Written(str(out), records, dim)


@contextmanager
def _opened(files: FileList, plan: Mapping[str, Any], parts: Sequence[Path], alone: bool) -> Iterator[None]:
    """Make the folder, or check that it belongs to this plan; keep other calls out until the block ends.

    With `alone`, no other process may share the work.
    """
    path, activity = files.folder / PLAN, "embedding" if alone else "embedding alone"
    with closing(hold(files.folder, activity, shared=not alone)):
        if not path.exists():
            names = [PLAN, *(part.name for part in parts)]
            files.claim(*names)
            files.add(*names)
            write_atomically(path, json_text(plan, 1).encode())
        _check_plan(path, plan)
        files.remove_leftovers()
        yield


def _check_plan(path: Path, plan: Mapping[str, Any]) -> None:
    """Refuse a folder whose plan differs: its parts were made from something else."""
    try:
        stored = parse_json(plain_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DataError(f"{path} is damaged: {problem}. Give another folder.") from problem
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise ConfigurationError(
            f"{path} does not have format {FORMAT}, which records the table that is embedded; another "
            "version or another program wrote it. Give another folder."
        )
    changes = [
        _difference(key, stored.get(key), plan.get(key))
        for key in sorted(stored.keys() | plan.keys())
        if stored.get(key) != plan.get(key)
    ]
    if changes:
        raise ConfigurationError(
            f"{path.parent} holds embeddings of another model, table or choice of modalities: "
            f"{'; '.join(changes)}. Give another folder."
        )


def _difference(key: str, previous: Any, current: Any) -> str:
    if key == "data" and isinstance(previous, dict):
        return differences(previous, current)
    if key == "rows" and isinstance(previous, list):
        return f"rows of the parts were {previous[:3]}..., but are now {current[:3]}..."
    return f"{key} was {str(previous)[:60]}, but is now {str(current)[:60]}"


def _shards(sizes: Sequence[int]) -> Iterator[range]:
    """Yield ranges of neighbouring groups of rows, one range for each file."""
    first, rows = 0, 0
    for group, size in enumerate(sizes):
        if rows and rows + size > ROWS:
            yield range(first, group)
            first, rows = group, 0
        rows += size
    if rows:
        yield range(first, len(sizes))


def _chunks(
    model: Trained, table: GroupedTable, groups: range, modalities: Sequence[str] | None
) -> Iterator[Table]:
    columns, reading = model.columns(modalities=modalities)
    chunk_size = chunk_rows(model, modalities or model.reader()[0].modalities)
    offsets = np.cumsum(table.sizes) - np.asarray(table.sizes)
    for group in groups:
        frame = reading.emptied(table.read(group, columns))
        for start in range(0, len(frame), chunk_size):
            rows = frame.iloc[start : start + chunk_size].reset_index(drop=True)
            yield Table(rows, table.root, int(offsets[group]) + start)


def weights_digest(module: torch.nn.Module) -> str:
    """Return a digest that tells one model's weights from another's."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
