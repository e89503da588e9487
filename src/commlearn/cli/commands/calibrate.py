"""`commlearn calibrate`: how far off the interactions of a table like yours would be."""

from __future__ import annotations

import argparse

from commlearn.cli.arguments import Call, add_modalities, given

HELP = "Measure the error to expect from `commlearn interactions` at the size of your table."
EXAMPLE = """\
Synthetic twins of your table go through the whole estimation: their answers are known, and they have
as many records and dimensions and the same class balance. Modalities are those of the schema, or
guessed from the table.

Example:
  commlearn calibrate --like films.csv --target genre --schema films.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--like", metavar="TABLE", required=True, help="table that the twins imitate")
    add("--target", required=True, help="column whose class balance they imitate")
    add("--schema", metavar="YAML", help="which columns form which modality; guessed if not given")
    add_modalities(parser, "compare")
    add("--repeats", type=int, default=3, help="samples of each twin; default: 3")
    add("--bins", type=int, help="quantile classes of a numeric target; default: 8")
    add("--json", action="store_true", help="print the result as JSON")


def python(options: argparse.Namespace) -> tuple[Call, str]:
    call = Call(
        "commlearn.information.calibrate:calibrate_like",
        options.like,
        options.target,
        Call("cl.Schema.from_yaml", options.schema) if options.schema else None,
        **given(options, "modalities", "repeats", "bins"),
        assign="calibration",
    )
    return call, "print(calibration)"


def run(options: argparse.Namespace) -> None:
    from commlearn.cli.output import print_json, progress_printer

    with progress_printer(options) as tell:
        result = python(options)[0].made(tell=tell)
    print_json(result.to_dict()) if options.json else print(result)
