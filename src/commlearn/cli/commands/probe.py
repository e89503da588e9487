"""`commlearn probe`: what a probe reads off a model's embeddings."""

from __future__ import annotations

import argparse
from typing import Any

from commlearn.cli.names import add_modalities, add_targets
from commlearn.cli.python_code import Call, program
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
    parser.add_argument("run_folder", metavar="RUN", help="folder of a training or of an export")
    parser.add_argument("table", metavar="TABLE", nargs="?", help="rows with targets, as in the schema")
    add_targets(parser)
    add_modalities(parser)
    parser.add_argument(
        "--with", dest="kind", default="linear", metavar="PROBE", help="linear (default) or neighbours"
    )
    parser.add_argument(
        "--retrieve",
        metavar="QUERY:GALLERY",
        help="find each test record's modalities from its others: a+b:c",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> str:
    table = [repr(options.table)] if options.table else []
    if options.retrieve:
        query, gallery = _sides(options.retrieve)
        return program(
            "from commlearn.probes.readout_rows import readout_rows",
            "from commlearn.probes.retrieval import retrieval",
            "",
            Call("cl.load", options.run_folder, assign="run"),
            f"data = readout_rows({', '.join(['run', *table, 'with_targets=False'])})",
            f"print(retrieval(run, data.test, {query!r}, {gallery!r}))",
        )
    chosen = [
        f"{name}={value!r}"
        for name, value in (("targets", options.targets), ("modalities", options.modalities))
        if value
    ]
    chosen += [] if options.kind == "linear" else [f"kind={options.kind!r}"]
    return program(
        Call("cl.load", options.run_folder, assign="run"),
        f"for target, result in cl.probe({', '.join(['run', *table, *chosen])}).items():",
        "    print(target, result)",
    )


def run(options: argparse.Namespace) -> int:
    import sys

    from commlearn.cli.output import print_json, print_next, print_probes, progress_printer
    from commlearn.probes import probe, to_json
    from commlearn.probes.readout_rows import readout_rows
    from commlearn.trained.artifact import load
    from commlearn.trained.run import Run

    loaded = load(options.run_folder)
    targets, modalities = options.targets, options.modalities
    with progress_printer(options) as tell:
        tell("reading, embedding and probing records")
        if options.retrieve:
            return _retrieve(loaded, readout_rows(loaded, options.table, with_targets=False), options)
        results = probe(loaded, options.table, targets, modalities, kind=options.kind)
    complete = modalities is None and targets is None and options.kind == "linear"
    note = ""
    if complete and isinstance(loaded, Run) and not options.table:
        note = loaded.folder.write_if_possible("probes.json", to_json(results))
    print_json(results) if options.json else print_probes(results)
    if isinstance(loaded, Run) and not options.table:
        print_next(options, ("interactions", options.run_folder), ("report", options.run_folder))
    if note:
        print(f"commlearn: note: {note}", file=sys.stderr)
    return 0


def _retrieve(loaded: Any, data: Any, options: argparse.Namespace) -> int:
    """Print retrieval in both directions: the second side by the first, and the first by the second."""
    from commlearn.cli.output import print_json
    from commlearn.probes.retrieval import retrieval

    sides = _sides(options.retrieve)
    results = {
        f"{'+'.join(query)} -> {'+'.join(gallery)}": retrieval(loaded, data.test, query, gallery)
        for query, gallery in (sides, sides[::-1])
    }
    if options.json:
        print_json(results)
    else:
        print("\n".join(f"{name}: {result}" for name, result in results.items()))
    return 0


def _sides(text: str) -> list[list[str]]:
    """Return the names of both sides."""
    sides = [side.split("+") for side in text.split(":")]
    if len(sides) != 2 or not all(name for side in sides for name in side):
        raise ConfigurationError(
            f"--retrieve {text}: give two sides separated by a colon, such as text:image."
        )
    return sides
