"""Several names in one word of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path


def names(text: str) -> list[str]:
    """Names with commas between them.

    Example:
        >>> names("image, text")
        ['image', 'text']
    """
    given = [name.strip() for name in text.split(",") if name.strip()]
    if not given:
        raise argparse.ArgumentTypeError("give at least one name")
    return given


def short_name(recipe: str) -> str:
    """What a folder is called by default: as the recipe or the file, or as the folder of a `schema.yaml`.

    Example:
        >>> short_name("films/schema.yaml"), short_name("mine.yaml"), short_name("trifeature")
        ('films', 'mine', 'trifeature')
    """
    path = Path(recipe)
    return path.resolve().parent.name if path.name == "schema.yaml" else path.stem


def add_recipe(parser: argparse.ArgumentParser, done: str) -> None:
    parser.add_argument(
        "recipe", help="name of a recipe (see: commlearn info), or a YAML file: a recipe or a schema"
    )
    parser.add_argument("--table", help=f"what a schema is {done} on; default: as its file says")
    parser.add_argument("--data", metavar="PATH", help="file or folder of the recipe's data set")


def add_targets(parser: argparse.ArgumentParser, default: str = "all") -> None:
    about = f"names with commas; default: {default}"
    parser.add_argument("--targets", "--target", type=names, metavar="NAMES", help=about)


def add_modalities(parser: argparse.ArgumentParser, done: str = "embed") -> None:
    about = f"{done} these only; names with commas"
    parser.add_argument("--modalities", type=names, metavar="NAMES", help=about)
