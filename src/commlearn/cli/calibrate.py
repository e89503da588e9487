"""`commlearn calibrate`: how far off the interactions of a table like yours would be."""

from __future__ import annotations

import argparse
import sys

HELP = "Measure the error to expect of `commlearn interactions` at the size of your table."
EXAMPLE = """\
Synthetic twins with the records, class balance and dimensions of your table, and known answers,
go through the whole estimation. Modalities are those of the schema, or guessed from the table.

Example:
  commlearn calibrate --like films.csv --target genre --schema films.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--like", metavar="TABLE", required=True, help="the table whose size counts")
    parser.add_argument("--target", required=True, help="the column whose classes count")
    parser.add_argument("--schema", help="which columns make which modality; guessed if not given")
    parser.add_argument("--modalities", help="these only; names with commas")
    parser.add_argument("--repeats", type=int, default=3, help="samples of each twin; default: 3")
    parser.add_argument("--bins", type=int, help="quantile classes of a number; default: 8")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json
    from commlearn.data.tables import read_table
    from commlearn.evaluation.interactions.calibrate import calibrate
    from commlearn.evaluation.interactions.settings import Settings
    from commlearn.evaluation.interactions.sources import gather
    from commlearn.evaluation.interactions.target import prepare_target
    from commlearn.kinds.infer import infer
    from commlearn.kinds.schema import Schema

    table = read_table(options.like)
    schema = Schema.from_yaml(options.schema) if options.schema else infer(table).schema
    modalities = options.modalities.split(",") if options.modalities else None
    found = gather(schema, table, modalities, None)
    asked = found.about(options.target)
    settings = Settings(curve=False, bootstrap=0, permutations=19)
    target = prepare_target(asked.values, asked.name, options.bins, settings.folds)
    dimensions = tuple(array.shape[1] for array in asked.material.arrays.values())
    result = calibrate(target, dimensions, options.repeats, settings, _told)
    print_json(result.to_dict()) if options.json else print(result)
    return 0


def _told(what: str) -> None:
    print(f"  {what} ...", file=sys.stderr, flush=True)
