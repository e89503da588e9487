"""`commlearn report`: one page that shows what a training found."""

from __future__ import annotations

import argparse

from commlearn.cli.names import add_targets
from commlearn.cli.python_code import Call

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
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training or of an export")
    parser.add_argument("table", metavar="TABLE", nargs="?", help="rows to examine, as in the schema")
    parser.add_argument("--out", "-o", metavar="FOLDER", help="folder of the page; default: RUN/report")
    add_targets(parser)
    parser.add_argument(
        "--interactions",
        action="store_true",
        help="also decompose what the modalities know together (minutes), for the named or first 3 targets",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of folds, bootstrap and choice of records")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def call(options: argparse.Namespace) -> Call:
    return Call(
        "cl.report",
        options.run_folder,
        options.table,
        out=options.out,
        targets=options.targets,
        interactions=options.interactions or None,
        seed=options.seed or None,
        assign="written",
    )


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, progress_printer

    with progress_printer(options) as tell:
        written = call(options).made(tell=tell)
    if options.json:
        print_json(written)
    else:
        print(f"wrote {written.out} ({written.bytes / 1e6:.1f} MB, {written.seconds:.0f} s)")
    return 0
