"""`commlearn probe`: what a linear probe reads off a model's embeddings."""

from __future__ import annotations

import argparse

HELP = "Fit linear probes on frozen embeddings and score them on test records."
EXAMPLE = """\
Without a table: on the data of the training. A table is split as that was.

Example:
  commlearn probe runs/comm --targets shared,unique1 --modalities image1
  commlearn probe runs/films-comm-seed0 films.csv --target genre
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training or of an export")
    parser.add_argument("table", metavar="TABLE", nargs="?", help="rows with targets, as in the schema")
    parser.add_argument("--targets", "--target", help="names with commas; default: all")
    parser.add_argument("--modalities", help="embed these only; names with commas")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, print_probes
    from commlearn.evaluation.probes import probe, to_json
    from commlearn.training.artifact import load
    from commlearn.training.build import read_data
    from commlearn.training.loop import Run

    loaded = load(options.run_folder)
    targets = options.targets.split(",") if options.targets else None
    modalities = options.modalities.split(",") if options.modalities else None
    data = loaded.dataset(options.table) if options.table else read_data(loaded.experiment)
    results = probe(loaded, data, targets, modalities)
    if modalities is None and targets is None and isinstance(loaded, Run):
        loaded.folder.write("probes.json", to_json(results))
    print_json(results) if options.json else print_probes(results)
    return 0
