"""`commlearn probe`: what a linear probe reads off a run's embeddings."""

from __future__ import annotations

import argparse

HELP = "Fit linear probes on a run's frozen embeddings and score them on test records."
EXAMPLE = """\
Example:
  commlearn probe runs/comm --targets shared,unique1 --modalities image1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training")
    parser.add_argument("--targets", help="names with commas; default: all")
    parser.add_argument("--modalities", help="embed these only; names with commas")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, print_probes
    from commlearn.evaluation.probes import probe, to_json
    from commlearn.training.build import read_data
    from commlearn.training.loop import load_run

    loaded = load_run(options.run_folder)
    targets = options.targets.split(",") if options.targets else None
    modalities = options.modalities.split(",") if options.modalities else None
    results = probe(loaded, read_data(loaded.experiment), targets, modalities)
    if modalities is None and targets is None:
        loaded.folder.write("probes.json", to_json(results))
    print_json(results) if options.json else print_probes(results)
    return 0
