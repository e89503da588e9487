"""`commlearn tune`: settings for each method, with the same budget for all."""

from __future__ import annotations

import argparse
import json
from typing import Any

from commlearn.cli.arguments import (
    Call,
    add_recipe,
    add_targets,
    add_trainings,
    given,
    made_with_seeds,
    names,
    out_folder,
    recipe_settings,
)
from commlearn.errors import ConfigurationError

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
    add = parser.add_argument
    add_recipe(parser, "tuned")
    add("--methods", type=names, help="comma-separated names; default: as in compare")
    about = (
        "a setting, with comma-separated values or a range; may be given several times; "
        "METHODS:KEY=VALUES is for these methods only"
    )
    add("--over", action="append", required=True, metavar="KEY=VALUES", help=about)
    add("--budget", type=int, help="settings tried for each method; default: the whole grid")
    add_targets(parser, "the recipe's scores, or all")
    add("--seeds", type=int, default=1, help="how many seeds for the final trainings; default: 1")
    add("--search-seed", type=int, default=0, help="seed of the settings that are drawn; default: 0")
    add_trainings(parser, "tune")


def python(options: argparse.Namespace) -> Call:
    return Call(
        "cl.tune",
        options.recipe,
        _over(options.over),
        options.methods,
        options.budget,
        options.seeds,
        str(out_folder(options)),
        overrides=recipe_settings(options),
        **given(options, "jobs", "targets", "table", "search_seed"),
        assign="tuning",
    )


def _over(words: list[str]) -> dict[str, str]:
    over: dict[str, str] = {}
    for word in words:
        key, equals, values = word.partition("=")
        if not key or not equals:
            raise ConfigurationError(f"--over {word}: give KEY=VALUES, such as method.temperature=.05..1.")
        if key in over:
            raise ConfigurationError(f"--over {key} is given twice; put all values into one.")
        over[key] = values
    return over


def _words(options: argparse.Namespace, chosen: dict[str, Any]) -> list[str]:
    """Return options that train on the same data, with the command's settings and the chosen ones."""
    settings = given(options, "table", "data") | options.overrides | chosen
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
    return [word for key, text in texts.items() for word in (f"--{key}", text)]


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_json, print_next, print_tuning

    tuning = made_with_seeds(python, options)
    if options.json:
        print_json(tuning)
    else:
        print_tuning(tuning)
        print(f"Table: {out_folder(options) / 'tuning.json'}")
        method, row = max(tuning["methods"].items(), key=lambda item: item[1]["above_chance"] or 0.0)
        if row["trained"]:
            words = _words(options, row["chosen"])
            print_next(options, ("train", options.recipe, "--method", method, *words))
    failed = (row[part]["errors"] for row in tuning["methods"].values() for part in ("default", "best"))
    return 1 if any(failed) else 0
