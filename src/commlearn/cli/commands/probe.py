"""`commlearn probe`: what a probe reads off a model's embeddings."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from commlearn.cli.arguments import Call, Code, add_modalities, add_run, add_targets, given
from commlearn.errors import ConfigurationError

HELP = "Fit probes on frozen embeddings and score them on test records."
EXAMPLE = """\
Classes: logistic regression; numbers: ridge regression; sets of labels: one against the rest, with
thresholds chosen on validation records. Without a table, the data of the training are used. A table is
split in the same way as these.

Example:
  commlearn probe runs/comm --targets shared,unique1 --modalities image1
  commlearn probe runs/films films.csv --target genre --with neighbours
  commlearn probe runs/films --retrieve plot:poster
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_run(parser, "rows with targets, as in the schema")
    add_targets(parser)
    add_modalities(parser)
    add("--with", dest="kind", default="linear", metavar="PROBE", help="linear (default) or neighbours")
    about = "find each test record's modalities from its others: a+b:c"
    add("--retrieve", metavar="QUERY:GALLERY", help=about)
    add("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> list[str]:
    loaded, run, table = Call("cl.load", options.run_folder, assign="run"), Code("run"), options.table or None
    if options.retrieve:
        query, gallery = _sides(options.retrieve)
        return [
            "from commlearn.probes.readout_rows import readout_rows",
            "from commlearn.probes.retrieval import retrieval",
            "",
            loaded,
            Call("readout_rows", run, table, with_targets=False, assign="data"),
            f"print(retrieval(run, data.test, {query!r}, {gallery!r}))",
        ]
    probes = Call("cl.probe", run, table, **given(options, "targets", "modalities", "kind"))
    return [loaded, f"for target, result in {probes}.items():", "    print(target, result)"]


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, print_next, print_probes, progress_printer
    from commlearn.probes.probe import probe
    from commlearn.probes.readout_rows import readout_rows
    from commlearn.storage.plain_json import json_text
    from commlearn.trained.artifact import load
    from commlearn.trained.run import Run

    loaded = load(options.run_folder)
    targets, modalities = options.targets, options.modalities
    with progress_printer(options) as tell:
        tell("reading, embedding and probing records")
        if options.retrieve:
            _retrieve(loaded, readout_rows(loaded, options.table, with_targets=False), options)
            return
        results = probe(loaded, options.table, targets, modalities, kind=options.kind)
    complete = modalities is None and targets is None and options.kind == "linear"
    note = ""
    if complete and isinstance(loaded, Run) and not options.table:
        note = loaded.folder.write_probes(json_text(results))
    print_json(results) if options.json else print_probes(results)
    if isinstance(loaded, Run) and not options.table:
        commands = ("interactions", "report") if len(loaded.specs) > 1 else ("report",)  # of two or more
        print_next(options, *((command, options.run_folder) for command in commands))
    if note:
        print(f"commlearn: note: {note}", file=sys.stderr)


def _retrieve(loaded: Any, data: Any, options: argparse.Namespace) -> None:
    """Print retrieval in both directions: the second side by the first, and the first by the second."""
    from commlearn.cli.output import print_json
    from commlearn.probes.retrieval import retrieval

    sides = _sides(options.retrieve)
    results = {
        f"{'+'.join(query)} -> {'+'.join(gallery)}": retrieval(loaded, data.test, query, gallery)
        for query, gallery in (sides, sides[::-1])
    }
    lines = [f"{name}: {result}" for name, result in results.items()]
    print_json(results) if options.json else print("\n".join(lines))


def _sides(text: str) -> list[list[str]]:
    sides = [side.split("+") for side in text.split(":")]
    if len(sides) != 2 or not all(name for side in sides for name in side):
        raise ConfigurationError(
            f"--retrieve {text}: give two sides separated by a colon, such as text:image."
        )
    return sides
