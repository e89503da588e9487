"""`commlearn embed`: the embeddings of a table, or of a run's own records, as a file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from commlearn.cli.names import add_modalities
from commlearn.cli.python_code import Call, Code, program

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
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training or of an export")
    parser.add_argument("table", metavar="TABLE", nargs="?", help="Parquet, tar, CSV, TSV or JSON lines")
    parser.add_argument("--out", "-o", required=True, help="file: .parquet, .csv or .npz; or a folder")
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "test"),
        help="which of the run's own records; default: test",
    )
    add_modalities(parser)
    parser.add_argument(
        "--blocks",
        default="all",
        choices=("all", "learned", "features"),
        help="part of an embedding: what was learned, the fixed features, or both; default: all",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> str:
    chosen = {"modalities": options.modalities, "blocks": None if options.blocks == "all" else options.blocks}
    if options.table:
        module, name = (
            ("stream", "write_embeddings") if Path(options.out).suffix else ("shards", "write_shards")
        )
        return program(
            f"from commlearn.trained.{module} import {name}",
            "",
            Call("cl.load", options.run_folder, assign="run"),
            Call(name, Code("run"), options.table, options.out, **chosen),
        )
    return program(
        Call("cl.load", options.run_folder, assign="run"),
        f"records = cl.read_data(run.experiment).{options.split}",
        Call("cl.embed", Code("run"), Code("records"), **chosen, assign="embeddings"),
    )


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, progress_printer
    from commlearn.errors import ConfigurationError
    from commlearn.trained.artifact import load
    from commlearn.trained.shards import write_shards
    from commlearn.trained.stream import write_embeddings

    loaded = load(options.run_folder)
    folder = not Path(options.out).suffix
    rank, ranks = (
        int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))
    )
    if ranks > 1 and not (folder and options.table):
        raise ConfigurationError(
            f"--out is {options.out}: several processes embed a table into a folder. Give one, without a "
            "file ending."
        )
    with progress_printer(options) as tell:
        if options.table and folder:
            written = write_shards(
                loaded, options.table, options.out, options.modalities, rank, ranks, tell, options.blocks
            )
        elif options.table:
            written = write_embeddings(
                loaded, options.table, options.out, options.modalities, tell, options.blocks
            )
        else:
            tell(f"embedding the {options.split} records")
            written = _embed_own_records(loaded, options)
    print_json(written) if options.json else print(
        f"{written.records} x {written.dim} embeddings: {written.out}"
    )
    return 0


def _embed_own_records(loaded: Any, options: argparse.Namespace) -> Any:
    from commlearn.datasets import READERS
    from commlearn.trained.embed import dimension_names, embed
    from commlearn.trained.run import read_own_data
    from commlearn.trained.stream import write

    records = getattr(read_own_data(loaded), options.split)
    vectors = embed(loaded, records, options.modalities, blocks=options.blocks)
    settings = dict(loaded.experiment.data)
    is_table = settings.pop("name") == "table"
    ids = READERS["table"](**settings).ids(records) if is_table else {}
    parts = iter([(ids | records.targets, vectors)])
    return write(options.out, parts, lambda dim: dimension_names(loaded, dim, options.blocks))
