"""`commlearn embed`: the embeddings of a table, or of a run's own records, as a file."""

from __future__ import annotations

import argparse
from typing import Any

from commlearn.cli.names import add_modalities
from commlearn.cli.python_code import Code, call, program

HELP = "Embed a table, or the records of a run's data set, with a trained model."
EXAMPLE = """\
Writes a file with `embedding` and the schema's id column. A table is read chunk by chunk: it may be
larger than memory. Without a table, the run's own records are embedded, with their targets.

Example:
  commlearn embed runs/films-comm-seed0 films.csv -o z.parquet --modalities poster,plot
  commlearn embed runs/comm --split test --out test.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training or of an export")
    parser.add_argument("table", metavar="TABLE", nargs="?", help="Parquet, CSV, TSV or JSON lines")
    parser.add_argument("--out", "-o", required=True, help="file to write: .parquet, .csv or .npz")
    parser.add_argument("--split", default="test", choices=("train", "test"), help="default: test")
    add_modalities(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> str:
    if options.table:
        return program(
            "from commlearn.evaluation.stream import write_embeddings",
            "",
            call("cl.load", options.run_folder, keep="run"),
            call("write_embeddings", Code("run"), options.table, options.out, modalities=options.modalities),
        )
    return program(
        call("cl.load", options.run_folder, keep="run"),
        f"records = cl.read_data(run.experiment).{options.split}",
        call("cl.embed", Code("run"), Code("records"), modalities=options.modalities, keep="embeddings"),
    )


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, telling
    from commlearn.evaluation.stream import write_embeddings
    from commlearn.training.artifact import load

    loaded = load(options.run_folder)
    with telling(options) as tell:
        if options.table:
            written = write_embeddings(loaded, options.table, options.out, options.modalities, tell)
        else:
            tell(f"embedding the {options.split} records")
            written = _own(loaded, options)
    print_json(written) if options.json else print(
        f"{written.records} x {written.dim} embeddings: {written.out}"
    )
    return 0


def _own(loaded: Any, options: argparse.Namespace) -> Any:
    from commlearn.evaluation.embed import embed
    from commlearn.evaluation.stream import write
    from commlearn.training.build import read_data

    records = getattr(read_data(loaded.experiment), options.split)
    return write(options.out, iter([(records.targets, embed(loaded, records, options.modalities))]))
