"""`commlearn tune`: settings for each method, with the same budget for all."""

from __future__ import annotations

import argparse
from pathlib import Path

from commlearn.cli.names import add_recipe, add_targets, names
from commlearn.cli.python_code import Call

HELP = "Choose settings for each method with the same budget, then score each method at its choice."
EXAMPLE = """\
The recipe's own settings are tried first, as part of the budget. Values (.05,.1,.3) make a grid;
from ranges (.05..1) values are drawn at random, on a logarithmic scale where they are wide. Where
data are generated, settings are chosen on the next data seed; otherwise the test rows stay unseen
until the choice is made. Stop it at any time and run it again to continue. Any other setting can be
given as --section.key value.

Example:
  commlearn tune trifeature-quick --methods comm --over method.temperature=.3,1
  commlearn tune films.yaml --methods comm,clip,pca --target genre --budget 8 \\
      --over comm:method.temperature=.05..1 \\
      --over comm,clip:training.learning_rate=1e-4..1e-2
"""
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser, "tuned")
    parser.add_argument("--methods", type=names, help="comma-separated names; default: as in compare")
    parser.add_argument(
        "--over",
        action="append",
        required=True,
        metavar="KEY=VALUES",
        help="a setting, with comma-separated values or a range; may be given several times; "
        "METHODS:KEY=VALUES is for these methods only",
    )
    parser.add_argument("--budget", type=int, help="settings tried for each method; default: the whole grid")
    add_targets(parser, "the recipe's scores, or all")
    parser.add_argument(
        "--seeds", type=int, default=1, help="number of seeds of the final trainings: 0, 1, ..."
    )
    parser.add_argument(
        "--search-seed", type=int, default=0, help="seed of the settings that are drawn; default: 0"
    )
    parser.add_argument("--out", help="folder; default: runs/tune-RECIPE")
    parser.add_argument(
        "--jobs", type=int, default=0, help="trainings at a time; default: one per core, one on a GPU"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def call(options: argparse.Namespace) -> Call:
    overrides = options.overrides | ({"data.path": options.data} if options.data else {})
    return Call(
        "cl.tune",
        options.recipe,
        _over(options.over),
        options.methods,
        options.budget,
        options.seeds,
        str(_out(options)),
        overrides=overrides or None,
        jobs=options.jobs or None,
        targets=options.targets,
        table=options.table,
        search_seed=options.search_seed or None,
        assign="tuning",
    )


def _out(options: argparse.Namespace) -> Path:
    return Path(options.out or f"runs/tune-{Path(options.recipe).stem}")


def _over(words: list[str]) -> dict[str, str]:
    from commlearn.errors import ConfigurationError

    over: dict[str, str] = {}
    for word in words:
        key, equals, values = word.partition("=")
        if not key or not equals:
            raise ConfigurationError(f"--over {word}: give KEY=VALUES, such as method.temperature=.05..1.")
        if key in over:
            raise ConfigurationError(f"--over {key} is given twice; put all values into one.")
        over[key] = values
    return over


def run(options: argparse.Namespace) -> int:
    import sys

    from commlearn.cli.comparison_output import print_tuning
    from commlearn.cli.output import print_json, print_next
    from commlearn.errors import ConfigurationError

    if options.seeds < 1:
        raise ConfigurationError(f"--seeds is {options.seeds}; give 1 or more.")
    if options.data:
        options.data = str(Path(options.data).resolve())
    tuning = call(options).made(
        tell=lambda line: None if options.quiet else print(line, file=sys.stderr, flush=True)
    )
    if options.json:
        print_json(tuning)
    else:
        print_tuning(tuning)
        print(f"Table: {_out(options) / 'tuning.json'}")
        method, row = max(tuning["methods"].items(), key=lambda item: item[1]["above_chance"] or 0.0)
        chosen = [word for key, value in row["chosen"].items() for word in (f"--{key}", value)]
        if row["trained"]:
            print_next(options, ("train", options.recipe, "--method", method, *chosen))
    failed = (row[part]["errors"] for row in tuning["methods"].values() for part in ("default", "best"))
    return 1 if any(failed) else 0
