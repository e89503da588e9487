"""`commlearn report`: one page that shows what a training found."""

from __future__ import annotations

import argparse

from commlearn.cli.arguments import Call, add_run, add_targets, given

HELP = "Write one HTML page that shows the results of a training, and the same as PNG, CSV and JSON."
EXAMPLE = """\
The page needs no network: data, losses, probes by subset of modalities, a map of the embeddings, nearest
neighbours, augmentations, settings. Without a table it shows the records of the training.

Example:
  commlearn report runs/films
  commlearn report runs/films new-films.csv --target genre --out films-report
  commlearn report runs/films --target genre --interactions
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_run(parser, "rows to examine, as in the schema")
    add("--out", "-o", metavar="FOLDER", help="folder of the page; default: RUN/report")
    add_targets(parser)
    about = "also decompose what the modalities know together (minutes), for the named or first 3 targets"
    add("--interactions", action="store_true", help=about)
    add("--seed", type=int, default=0, help="seed of folds, bootstrap and choice of records")
    add("--json", action="store_true", help="print what was written as JSON")


def python(options: argparse.Namespace) -> Call:
    return Call(
        "cl.report",
        options.run_folder,
        options.table,
        **given(options, "out", "targets", "interactions", "seed"),
        assign="written",
    )


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, progress_printer

    with progress_printer(options) as tell:
        written = python(options).made(tell=tell)
    summary = f"wrote {written.out} ({written.bytes / 1e6:.1f} MB, {written.seconds:.0f} s)"
    print_json(written) if options.json else print(summary)
