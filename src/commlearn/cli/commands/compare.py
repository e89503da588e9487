"""`commlearn compare`: several methods and seeds in one table and one chart."""

from __future__ import annotations

import argparse

from commlearn.cli.names import add_targets, names
from commlearn.cli.python_code import call, program

HELP = "Train several methods with the same budget on a recipe or a table, and compare their probes."
EXAMPLE = """\
Beside methods, baselines take part: raw (features of all modalities), single (each modality
alone), pca, cca, random (an untrained network: the floor), supervised (trained on labels: a
ceiling); all = everything that can take the data. Trains what is missing, skips what is done;
stop it at any time and run it again to go on. Any setting can be given as --section.key value.

Example:
  commlearn compare trifeature-quick --methods clip,crossself,comm --seeds 3
  commlearn compare films.yaml --methods comm,clip,raw --target genre --seeds 3
"""
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe", help="name of a recipe (see: commlearn info), or a YAML file: a recipe or a schema"
    )
    parser.add_argument("--table", help="what a schema is compared on; default: as its file says")
    parser.add_argument("--data", metavar="PATH", help="file or folder of the recipe's data set")
    parser.add_argument(
        "--methods", type=names, default="clip,crossself,comm", help="names with commas, or all"
    )
    add_targets(parser, "the recipe's scores, or all")
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1, ...")
    parser.add_argument("--out", help="folder; default: runs/compare-RECIPE")
    parser.add_argument(
        "--jobs", type=int, default=0, help="trainings at a time; default: one a core, one on a GPU"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def python(options: argparse.Namespace) -> str:
    overrides = dict(options.overrides) | ({"data.path": options.data} if options.data else {})
    return program(
        call(
            "cl.compare",
            options.recipe,
            options.methods,
            options.seeds,
            options.out or f"runs/compare-{options.recipe.rpartition('/')[2].removesuffix('.yaml')}",
            overrides=overrides or None,
            jobs=options.jobs or None,
            targets=options.targets,
            table=options.table,
            keep="table",
        )
    )


def run(options: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    from commlearn.cli.comparison_output import print_comparison
    from commlearn.cli.output import print_json
    from commlearn.comparison.compare import compare
    from commlearn.errors import ConfigurationError
    from commlearn.plot.comparison import comparison_chart

    if options.seeds < 1:
        raise ConfigurationError(f"--seeds is {options.seeds}; give how many, 1 or more.")
    if options.data:
        options.overrides["data.path"] = str(Path(options.data).resolve())
    out = Path(options.out or f"runs/compare-{Path(options.recipe).stem}")
    table = compare(
        options.recipe,
        options.methods,
        options.seeds,
        out,
        options.overrides,
        options.jobs,
        tell=lambda line: None if options.quiet else print(line, file=sys.stderr, flush=True),
        targets=options.targets,
        table=options.table,
    )
    comparison_chart(table, out / "table.png")
    if options.json:
        print_json(table)
    else:
        print_comparison(table)
        print(f"Table: {out / 'table.json'}   Chart: {out / 'table.png'}")
    return 1 if any(row["errors"] for row in table["methods"].values()) else 0
