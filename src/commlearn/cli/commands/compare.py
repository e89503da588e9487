"""`commlearn compare`: several methods and seeds in one table and one chart."""

from __future__ import annotations

import argparse

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

HELP = "Does an embedding add anything over what you would do otherwise? Methods, rivals, and a verdict."
EXAMPLE = """\
On a table each method is trained, and its embedding, together with the fixed features, is
compared with its rivals: each modality alone (single), features side by side, late fusion,
boosting, a network, pca, the untrained network, tabicl where installed; with 1, 5,
10, 50 and 100 % of the labels, and without each modality. The verdict says in words what adds
something. --rivals none leaves it out; on a recipe it is left out unless rivals are named.

The table of probes may hold baselines as well: raw (values of all modalities), fixed (their fixed
features), single, pca, cca, random (an untrained network: the floor), supervised (trained on labels:
a ceiling); all = everything that can use the data. Trains what is missing and skips what is done; stop
it at any time and run it again to continue. Any setting can be given as --section.key value.

Example:
  commlearn compare films.yaml
  commlearn compare films.yaml --labels 5,20,all --rivals single,features
  commlearn compare trifeature-quick --methods clip,crossself,comm --seeds 3
  commlearn compare films.yaml --methods comm,clip,raw --target genre --seeds 3
"""
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_recipe(parser, "compared")
    about = "comma-separated names, or all; default: comm on a table, clip,crossself,comm on a recipe"
    add("--methods", type=names, help=about)
    add("--rivals", type=names, help="comma-separated names, all or none; default: all on a table")
    about = "comma-separated shares (5%%), numbers per class (20) or all; default: 1%%,5%%,10%%,50%%,all"
    add("--labels", type=names, metavar="BUDGETS", help=about)
    add_targets(parser, "the recipe's scores, or all")
    add("--seeds", type=int, default=1, help="how many seeds (0, 1, ...); default: 1")
    add_trainings(parser, "compare")


def python(options: argparse.Namespace) -> Call:
    return Call(
        "cl.compare",
        options.recipe,
        options.methods,
        options.seeds,
        str(out_folder(options)),
        overrides=recipe_settings(options),
        **given(options, "jobs", "targets", "table"),
        rivals=[] if options.rivals == ["none"] else options.rivals,  # without rivals there is no verdict
        budgets=options.labels,
        assign="comparison",
    )


def run(options: argparse.Namespace) -> int:
    from commlearn.cli.output import print_comparison, print_json, print_verdict
    from commlearn.plot.comparison import comparison_chart, verdict

    out = out_folder(options)
    comparison = made_with_seeds(python, options)
    comparison_chart(comparison, out / "table.png")
    pictures = []
    for number, target in enumerate((comparison.verdict or {"targets": {}})["targets"], 1):
        pictures.append(str(out / f"verdict-{number}.png"))
        verdict(comparison, target)[0].figure.savefig(pictures[-1], dpi=150)
    if options.json:
        stated = {} if comparison.verdict is None else {"verdict": comparison.verdict}
        print_json({**comparison, **stated})
    else:
        print_comparison(comparison)
        print(f"Table: {out / 'table.json'}   Chart: {out / 'table.png'}")
        if comparison.verdict is not None:
            print_verdict(comparison)
            print(f"Verdict: {out / 'verdict.json'}   Pictures: {', '.join(pictures)}")
    return 1 if any(row["errors"] for row in comparison["methods"].values()) else 0
