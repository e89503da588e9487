"""`commlearn embed`: the embeddings of a table, or of a run's own records, as a file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from commlearn.cli.arguments import Call, Code, add_modalities, add_run, given
from commlearn.errors import ConfigurationError

HELP = "Embed a table, or the records of a run's data set, with a trained model."
EXAMPLE = """\
Writes a file with `embedding` and the schema's id column. A table is read in chunks, so it may be
larger than memory. Without a table, the run's own records are embedded, with their ids and targets.

Parquet and WebDataset's tar files can be embedded into a folder: files are completed one by one, a call
that was stopped continues when it is repeated, and the processes of torchrun share the work. A table may
be a URL.

Example:
  commlearn embed runs/films films.csv -o z.parquet --modalities poster,plot
  commlearn embed runs/comm --split test --out test.npz
  commlearn embed runs/films s3://bucket/films -o z
  torchrun --nproc-per-node 8 -m commlearn embed runs/films films/ -o z
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_run(parser, "Parquet, tar, CSV, TSV or JSON lines")
    add("--out", "-o", required=True, help="file: .parquet, .csv or .npz; or a folder")
    about = "without a table, which of the run's own records; default: test"
    add("--split", choices=("train", "test"), help=about)
    add_modalities(parser)
    about = "part of an embedding: what was learned, the fixed features, or both; default: all"
    add("--blocks", default="all", choices=("all", "learned", "features"), help=about)
    add("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> list[str]:
    chosen = given(options, "modalities", "blocks")
    loaded = Call("cl.load", options.run_folder, assign="run")
    if not options.table:
        embeddings = Call("cl.embed", Code("run"), Code("records"), **chosen, assign="embeddings")
        return [loaded, f"records = cl.read_data(run.experiment).{options.split or 'test'}", embeddings]
    module, name = ("stream", "write_embeddings") if Path(options.out).suffix else ("shards", "write_shards")
    written = Call(name, Code("run"), options.table, options.out, **chosen)
    return [f"from commlearn.trained.{module} import {name}", "", loaded, written]


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, progress_printer
    from commlearn.trained.artifact import load
    from commlearn.trained.shards import write_shards
    from commlearn.trained.stream import write_embeddings

    if options.table and options.split:
        raise ConfigurationError(
            f"--split {options.split} chooses among the run's own records, but {options.table} is given, all "
            "rows of which are embedded. Leave out one of the two."
        )
    loaded = load(options.run_folder)
    folder = not Path(options.out).suffix
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1 and not (folder and options.table):
        raise ConfigurationError(
            f"--out is {options.out}: several processes embed a table into a folder. Give one, without a "
            "file ending."
        )
    with progress_printer(options) as tell:
        if options.table:
            work = (loaded, options.table, options.out, options.modalities)
            if folder:
                written = write_shards(*work, rank, ranks, tell, options.blocks)
            else:
                written = write_embeddings(*work, tell, options.blocks)
        else:
            split = options.split or "test"
            tell(f"embedding the {split} records")
            written = _embed_own_records(loaded, split, options)
    summary = f"{written.records} x {written.dim} embeddings: {written.out}"
    print_json(written) if options.json else print(summary)


def _embed_own_records(loaded: Any, split: str, options: argparse.Namespace) -> Any:
    import warnings

    import numpy as np

    from commlearn.datasets import READERS
    from commlearn.errors import DataWarning
    from commlearn.trained.embed import dimension_names, embed
    from commlearn.trained.run import read_own_data
    from commlearn.trained.stream import write

    data = read_own_data(loaded)
    records = getattr(data, split)
    if loaded.experiment.data.get("stream") and split == "test":
        line = "Of a streamed table, the test rows in memory are embedded; give the table to embed all"
        warnings.warn(DataWarning(f"{line} ({data.notes[0]})."), stacklevel=2)
    vectors = embed(loaded, records, options.modalities, blocks=options.blocks)
    settings = dict(loaded.experiment.data)
    is_table = settings.pop("name") == "table"
    ids = READERS["table"](**settings).ids(records) if is_table else {}
    columns = ids | records.targets
    if options.modalities is not None:  # records without any of them have no embedding
        columns = columns if ids else {"row": np.arange(len(records)), **columns}
        present = ~np.isnan(vectors[:, 0])
        columns, vectors = {name: values[present] for name, values in columns.items()}, vectors[present]
    parts = iter([(columns, vectors)])
    return write(options.out, parts, lambda dim: dimension_names(loaded, dim, options.blocks))
