"""Names on the command line: several in one word, and options that take names."""

from __future__ import annotations

import argparse
from pathlib import Path


def names(text: str) -> list[str]:
    """Split names at commas.

    Example:
        >>> names("image, text")
        ['image', 'text']
    """
    parts = [name.strip() for name in text.split(",") if name.strip()]
    if not parts:
        raise argparse.ArgumentTypeError("give at least one name")
    return parts


def short_name(recipe: str) -> str:
    """Return a folder's default name: that of the recipe or the file, or of the folder of a `schema.yaml`.

    Example:
        >>> short_name("films/schema.yaml"), short_name("mine.yaml"), short_name("trifeature")
        ('films', 'mine', 'trifeature')
    """
    path = Path(recipe)
    return path.resolve().parent.name if path.name == "schema.yaml" else path.stem


def add_recipe(parser: argparse.ArgumentParser, done: str) -> None:
    parser.add_argument(
        "recipe", help="name of a recipe (see commlearn info), or a YAML file with a recipe or a schema"
    )
    parser.add_argument("--table", help=f"table that a schema is {done} on; default: the one its file names")
    parser.add_argument("--data", metavar="PATH", help="file or folder of the recipe's data set")


def add_targets(parser: argparse.ArgumentParser, default: str = "all") -> None:
    about = f"comma-separated names; default: {default}"
    parser.add_argument("--targets", "--target", type=names, metavar="NAMES", help=about)


def add_modalities(parser: argparse.ArgumentParser, done: str = "embed") -> None:
    about = f"{done} only these; comma-separated names"
    parser.add_argument("--modalities", type=names, metavar="NAMES", help=about)
